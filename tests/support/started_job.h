// A job of fake workers (support/fake_worker.cc) that a test has started: its end, its files, and
// whatever it left on this machine.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "support/temp_folder.h"
#include "watch/reason_file.h"

namespace molora::testing {

class StartedJob {
 public:
  // words: the arguments of fake_worker behind the folder. `mode` is supervise, or mpirun for
  // workers under a user's own mpirun.
  StartedJob(const std::string& mode, const std::vector<std::string>& words,
             const std::vector<std::string>& variables = {})
      : mark_("molora-fake-" + folder_.path().filename().string()) {
    std::filesystem::create_symlink(FAKE_MPIRUN, folder_ / "mpirun");
    std::vector<std::string> all = {FAKE_WORKER, mode, run_folder().string()};
    if (mode == "mpirun") all = {"mpirun", "--np", "2", FAKE_WORKER, "work", run_folder().string()};
    all.insert(all.end(), words.begin(), words.end());
    std::vector<char*> pointers;
    for (std::string& word : all) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ != 0) return;
    const std::string path = folder_.path().string() + ":" + std::getenv("PATH");
    ::setenv("PATH", path.c_str(), 1);
    ::setenv("FAKE_JOB", mark_.c_str(), 1);
    for (const std::string& variable : variables) ::putenv(::strdup(variable.c_str()));
    const int log = ::open((folder_ / "log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
    ::dup2(log, STDOUT_FILENO);
    ::dup2(log, STDERR_FILENO);
    ::execvp(pointers[0], pointers.data());
    ::_exit(127);
  }
  ~StartedJob() {
    for (const pid_t process : processes()) ::kill(process, SIGKILL);
    if (!has_ended_) ::waitpid(pid_, nullptr, 0);
    for (const auto& path : shared_memory()) std::filesystem::remove(path);
  }
  StartedJob(const StartedJob&) = delete;
  StartedJob& operator=(const StartedJob&) = delete;
  StartedJob(StartedJob&&) = delete;
  StartedJob& operator=(StartedJob&&) = delete;

  void signal(int signal) const { ::kill(pid_, signal); }
  // Its exit code, -n when signal n ended it; a failure of the test when it takes longer.
  int wait(double max_seconds) {
    int status = 0;
    const bool is_over =
        wait_for(max_seconds, [&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; });
    if (!is_over) {
      ADD_FAILURE() << "still running after " << max_seconds << " s:\n" << log();
      return -1;
    }
    has_ended_ = true;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  static bool wait_for(double max_seconds, const std::function<bool()>& is_so) {
    const auto until =
        std::chrono::steady_clock::now() + std::chrono::duration<double>(max_seconds);
    while (!is_so()) {
      if (std::chrono::steady_clock::now() > until) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return true;
  }

  std::filesystem::path run_folder() const { return folder_ / "run"; }
  std::string log() const { return read_text(folder_ / "log"); }
  std::string file(const std::string& name) const { return read_text(run_folder() / name); }
  Reason reason() const { return read_reason(run_folder()).value_or(Reason()); }

  // Of this job, whoever their parents are.
  std::vector<pid_t> processes() const {
    std::vector<pid_t> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const std::string name = entry.path().filename();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      const std::string environment = read_text(entry.path() / "environ");
      const bool is_ours = environment.find("FAKE_JOB=" + mark_) != std::string::npos;
      if (is_ours && std::stoi(name) != ::getpid()) found.push_back(std::stoi(name));
    }
    return found;
  }
  std::vector<std::filesystem::path> shared_memory() const {
    std::vector<std::filesystem::path> found;
    for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
      if (entry.path().filename().string().starts_with(mark_)) found.push_back(entry.path());
    }
    return found;
  }

 private:
  TempFolder folder_;
  std::string mark_;
  pid_t pid_ = -1;
  bool has_ended_ = false;
};

}  // namespace molora::testing
