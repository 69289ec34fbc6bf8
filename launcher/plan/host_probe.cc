#include "launcher/plan/host_probe.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sstream>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "launcher/plan/user_settings.h"

namespace molora {

namespace {

using Launcher = LaunchOptions::Launcher;

// A child that asks one host, in a process group of its own so that it can be ended with all that
// it started; it is ended at the latest with this object.
class Probe {
 public:
  Probe(std::string host, const std::vector<std::string>& words) : host_(std::move(host)) {
    std::vector<std::string> copies = words;
    std::vector<char*> argv;
    argv.reserve(copies.size() + 1);
    for (std::string& word : copies) argv.push_back(word.data());
    argv.push_back(nullptr);

    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t files;
    ::posix_spawnattr_init(&attributes);
    ::posix_spawn_file_actions_init(&files);
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    // The supervisor blocks signals that the child must hear.
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &all);
    ::posix_spawnattr_setpgroup(&attributes, 0);
    ::posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    // ssh would read the terminal otherwise.
    ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    ::posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    pid_t child = 0;
    const int error = ::posix_spawnp(&child, argv[0], &files, &attributes, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&files);
    ::posix_spawnattr_destroy(&attributes);
    if (error != 0) {
      throw IoError(
          fmt::format("cannot ask host {} with '{}': {}", host_, words[0], std::strerror(error)));
    }
    child_ = child;
  }
  ~Probe() {
    if (child_ == 0) return;
    ::kill(-child_, SIGKILL);
    while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  Probe(Probe&& other) noexcept
      : host_(std::move(other.host_)),
        child_(std::exchange(other.child_, 0)),
        has_answered_(other.has_answered_) {}
  Probe& operator=(Probe&&) = delete;
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;

  // Whether the child has ended, without waiting for it.
  bool is_over() {
    if (child_ == 0) return true;
    int status = 0;
    if (::waitpid(child_, &status, WNOHANG) != child_) return false;
    has_answered_ = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    child_ = 0;
    return true;
  }
  const std::string& host() const { return host_; }
  bool has_answered() const { return has_answered_; }

 private:
  std::string host_;
  pid_t child_ = 0;  // 0: ended
  bool has_answered_ = false;
};

// "ssh -p 2222 : rsh": the first of the alternatives that is there, word by word; Open MPI's
// default when none is named.
std::vector<std::string> launch_agent(const LaunchPlan& plan, const Environment& environment) {
  const UserSettings user(environment, plan.launcher_arguments);
  const std::string agents =
      user.mca({"plm_rsh_agent", "pls_rsh_agent", "orte_rsh_agent", "plm_ssh_agent"})
          .value_or("ssh : rsh");
  std::vector<std::string> first;
  for (size_t begin = 0; begin <= agents.size();) {
    const size_t end = std::min(agents.find(':', begin), agents.size());
    std::istringstream stream(agents.substr(begin, end - begin));
    std::vector<std::string> words;
    for (std::string word; stream >> word;) words.push_back(word);
    begin = end + 1;
    if (words.empty()) continue;
    if (!program_on_path(environment, words[0]).empty()) return words;
    if (first.empty()) first = words;
  }
  return first.empty() ? std::vector<std::string>{"ssh"} : first;
}

bool is_ssh(const std::string& program) {
  return program == "ssh" ||
         (program.size() > 4 && program.compare(program.size() - 4, 4, "/ssh") == 0);
}

}  // namespace

std::vector<std::string> probe_command(const LaunchPlan& plan, const std::string& host,
                                       std::chrono::seconds limit, const Environment& environment) {
  if (plan.launcher == Launcher::kSrun) {
    return {"srun", "--overlap", "--nodes=1", "--ntasks=1", "--nodelist=" + host, "true"};
  }
  std::vector<std::string> words = launch_agent(plan, environment);
  if (is_ssh(words[0])) {
    words.insert(words.end(),
                 {"-o", "BatchMode=yes", "-o", fmt::format("ConnectTimeout={}", limit.count())});
  }
  words.insert(words.end(), {host, "true"});
  return words;
}

std::vector<std::string> unreachable_hosts(const LaunchPlan& plan, const Machine& local,
                                           std::chrono::seconds limit,
                                           const Environment& environment) {
  using Clock = std::chrono::steady_clock;
  constexpr auto kPause = std::chrono::milliseconds(20);
  const Clock::time_point deadline = Clock::now() + limit;
  std::vector<Probe> probes;
  for (const Host& host : plan.hosts) {
    if (host.name == plan.local_host || is_local(local, host.name)) continue;
    probes.emplace_back(host.name, probe_command(plan, host.name, limit, environment));
  }
  const auto are_over = [&] {
    bool all = true;
    for (Probe& probe : probes) all = probe.is_over() && all;
    return all;
  };
  while (!are_over() && Clock::now() < deadline) std::this_thread::sleep_for(kPause);
  std::vector<std::string> unreachable;
  for (const Probe& probe : probes) {
    if (!probe.has_answered()) unreachable.push_back(probe.host());
  }
  return unreachable;
}

}  // namespace molora
