#include "launcher/supervise/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <system_error>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "launcher/plan/environment.h"

namespace molora {

namespace {

constexpr int kSignalBase = 128;

// What execve() takes.
class Words {
 public:
  explicit Words(std::vector<std::string> words) : words_(std::move(words)) {
    for (std::string& word : words_) pointers_.push_back(word.data());
    pointers_.push_back(nullptr);
  }
  char* const* pointers() const { return pointers_.data(); }

 private:
  std::vector<std::string> words_;
  std::vector<char*> pointers_;
};

Words environment_of(const ChildProcess::Start& start) {
  Environment environment = process_environment();
  for (const EnvironmentSetting& setting : start.command.environment) {
    environment.emplace(setting.name, setting.value);
  }
  for (const EnvironmentSetting& setting : start.forced) environment[setting.name] = setting.value;
  for (const std::string& name : start.unset) environment.erase(name);
  std::vector<std::string> words;
  for (const auto& [name, value] : environment) words.push_back(fmt::format("{}={}", name, value));
  return Words(std::move(words));
}

struct ExecPlan {
  const Words& words;
  const Words& environment;
  const sigset_t& signal_mask;
  bool has_stdin;
  pid_t parent;
  int out;
  int err;
  int failure;  // where errno is told to
};

// In the child, between fork and exec: only calls that are allowed there.
[[noreturn]] void become(const ExecPlan& plan) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != plan.parent) ::_exit(kSignalBase + SIGTERM);
  // In the background, reading the terminal would stop it.
  if (!plan.has_stdin || ::isatty(STDIN_FILENO) == 1) {
    const int nothing = ::open("/dev/null", O_RDONLY);
    if (nothing >= 0) ::dup2(nothing, STDIN_FILENO);
  }
  ::dup2(plan.out, STDOUT_FILENO);
  ::dup2(plan.err, STDERR_FILENO);
  ::sigprocmask(SIG_SETMASK, &plan.signal_mask, nullptr);
  ::signal(SIGPIPE, SIG_DFL);  // we ignore it, and that would be inherited
  ::execvpe(plan.words.pointers()[0], plan.words.pointers(), plan.environment.pointers());
  const int error = errno;
  [[maybe_unused]] const ssize_t told = ::write(plan.failure, &error, sizeof error);
  ::_exit(127);
}

// The parent of each process.
std::map<pid_t, pid_t> parents() {
  std::map<pid_t, pid_t> result;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const std::string name = entry.path().filename();
    pid_t process = 0;
    if (std::from_chars(name.data(), name.data() + name.size(), process).ptr !=
        name.data() + name.size()) {
      continue;
    }
    std::ifstream file(entry.path() / "stat");
    std::string text;
    std::getline(file, text);
    const size_t end = text.rfind(')');  // "12 (any (name)) S 7 ..."
    if (end == std::string::npos || end + 4 >= text.size()) continue;
    pid_t parent = 0;
    std::from_chars(text.data() + end + 4, text.data() + text.size(), parent);
    result[process] = parent;
  }
  return result;
}

}  // namespace

ChildProcess::ChildProcess(const Start& start) : out_(FileDescriptor()), err_(FileDescriptor()) {
  const Words words(start.command.words);
  const Words environment = environment_of(start);
  PipeEnds out = make_pipe();
  PipeEnds err = make_pipe();
  PipeEnds failure = make_pipe();
  const ExecPlan plan{words,      environment,     start.signal_mask, start.has_stdin,
                      ::getpid(), out.write.get(), err.write.get(),   failure.write.get()};
  pid_ = ::fork();
  if (pid_ < 0) {
    throw IoError(
        fmt::format("{} cannot be started: {}", start.command.words[0], std::strerror(errno)));
  }
  if (pid_ == 0) become(plan);
  ::setpgid(pid_, pid_);
  failure.write.reset();
  int error = 0;
  ssize_t count = 0;
  do {
    count = ::read(failure.read.get(), &error, sizeof error);
  } while (count < 0 && errno == EINTR);
  if (count > 0) {
    ::waitpid(pid_, nullptr, 0);
    throw IoError(
        fmt::format("{} cannot be started: {}", start.command.words[0], std::strerror(error)));
  }
  out_ = OutputPipe(std::move(out.read));
  err_ = OutputPipe(std::move(err.read));
}

std::optional<int> ChildProcess::exit_code() {
  if (exit_code_) return exit_code_;
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  exit_code_ = WIFSIGNALED(status) ? kSignalBase + WTERMSIG(status) : WEXITSTATUS(status);
  return exit_code_;
}

void ChildProcess::signal(int signal) { ::kill(pid_, signal); }

void ChildProcess::signal_group(int signal) { ::kill(-pid_, signal); }

void adopt_orphans() { ::prctl(PR_SET_CHILD_SUBREAPER, 1); }

std::vector<pid_t> descendants() {
  const std::map<pid_t, pid_t> parent_of = parents();
  std::vector<pid_t> result = {::getpid()};
  for (size_t i = 0; i < result.size(); ++i) {
    for (const auto& [process, parent] : parent_of) {
      if (parent == result[i]) result.push_back(process);
    }
  }
  result.erase(result.begin());
  return result;
}

bool kill_descendants(double max_seconds) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(max_seconds);
  while (true) {
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    const std::vector<pid_t> left = descendants();
    if (left.empty()) return true;
    if (std::chrono::steady_clock::now() > until) return false;
    for (const pid_t process : left) ::kill(process, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace molora
