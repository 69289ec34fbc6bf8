// A part of a test in a process of its own: with its own environment, which the fake libraries read
// once, and with what it says caught.
#pragma once

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace molora::testing {

using Environment = std::vector<std::pair<std::string, std::string>>;

struct EndOfChild {
  int exit_code = -1;  // -1 when a signal ended it
  int signal = 0;
  std::string output;  // stdout and stderr

  bool is_good() const { return exit_code == 0; }
};

class ChildProcess {
 public:
  // Runs body() in a fork of this process, which must have no other threads. The child fails when
  // an expectation in it fails or body() throws.
  ChildProcess(const Environment& environment, const std::function<void()>& body)
      : output_(memfd_create("output of a child", 0)) {
    std::fflush(nullptr);
    pid_ = fork();
    if (pid_ < 0 || output_ < 0) throw std::runtime_error("no process for a test");
    if (pid_ == 0) run(environment, body);
  }
  ~ChildProcess() {
    if (!has_ended_) {
      kill(SIGKILL);
      wait();
    }
    close(output_);
  }
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ChildProcess(ChildProcess&&) = delete;
  ChildProcess& operator=(ChildProcess&&) = delete;

  pid_t pid() const { return pid_; }
  void kill(int signal) const { ::kill(pid_, signal); }

  EndOfChild wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    has_ended_ = true;
    EndOfChild end;
    if (WIFEXITED(status)) end.exit_code = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
    end.output.resize(static_cast<size_t>(lseek(output_, 0, SEEK_END)));
    if (pread(output_, end.output.data(), end.output.size(), 0) < 0) end.output = "unreadable";
    return end;
  }

 private:
  [[noreturn]] void run(const Environment& environment, const std::function<void()>& body) const {
    alarm(kMostSeconds);  // ends by SIGALRM what hangs
    dup2(output_, STDOUT_FILENO);
    dup2(output_, STDERR_FILENO);
    for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
    try {
      body();
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
    std::fflush(nullptr);
    std::exit(::testing::Test::HasFailure() ? 1 : 0);
  }

  static constexpr unsigned kMostSeconds = 90;

  int output_;
  pid_t pid_ = -1;
  bool has_ended_ = false;
};

inline EndOfChild run_in_child(const Environment& environment, const std::function<void()>& body) {
  return ChildProcess(environment, body).wait();
}

}  // namespace molora::testing
