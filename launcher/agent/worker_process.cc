#include "launcher/agent/worker_process.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace molora {

namespace {

constexpr uint64_t kKiB = 1024;

// Resident now; 0 when it is gone.
uint64_t memory_of(pid_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/statm");
  uint64_t total = 0;
  uint64_t resident = 0;
  file >> total >> resident;
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

bool handles_signal(pid_t process, int signal) {
  std::ifstream file("/proc/" + std::to_string(process) + "/status");
  for (std::string key; file >> key; file.ignore(4096, '\n')) {
    if (key != "SigCgt:") continue;
    uint64_t caught = 0;
    file >> std::hex >> caught;
    return (caught >> static_cast<unsigned>(signal - 1) & 1U) != 0;
  }
  return false;
}

}  // namespace

WorkerProcess::WorkerProcess(pid_t process)
    : pid_(process), memory_events_(process), shared_memory_(std::chrono::system_clock::now()) {}

void WorkerProcess::look() {
  int status = 0;
  rusage usage{};
  while (!has_ended() && ::wait4(pid_, &status, WNOHANG | WUNTRACED | WCONTINUED, &usage) == pid_) {
    if (WIFSTOPPED(status)) {
      process_ = RankState::stopped;
      continue;
    }
    process_ = RankState::running;
    if (WIFCONTINUED(status)) continue;
    process_ = RankState::ended;
    if (WIFSIGNALED(status)) {
      departure_.set_signal(WTERMSIG(status));
      departure_.set_is_out_of_memory(WTERMSIG(status) == SIGKILL && memory_events_.killed() > 0);
    } else {
      departure_.set_exit_code(WEXITSTATUS(status));
    }
    peak_memory_bytes_ =
        std::max(peak_memory_bytes_, static_cast<uint64_t>(usage.ru_maxrss) * kKiB);
    departure_.set_peak_memory_bytes(peak_memory_bytes_);
  }
  if (!waiting_signals_.empty()) send_waiting();
}

void WorkerProcess::describe(RankState& state) {
  const uint64_t memory = has_ended() ? 0 : memory_of(pid_);
  peak_memory_bytes_ = std::max(peak_memory_bytes_, memory);
  state.set_pid(pid_);
  state.set_process(process_);
  state.set_memory_bytes(memory);
  state.set_peak_memory_bytes(peak_memory_bytes_);
}

void WorkerProcess::watch_shared_memory(Phase phase, double now) {
  constexpr double kSecondsOfChange = 5.0;  // segments are made when something begins
  constexpr double kSecondsBetweenLooks = 10.0;
  if (phase != phase_) {
    phase_ = phase;
    phase_since_ = now;
  }
  const bool is_early = phase == PHASE_START || phase == PHASE_LOAD;
  if (!is_early && now - phase_since_ > kSecondsOfChange && now < next_look_) return;
  next_look_ = now + kSecondsBetweenLooks;
  note_shared_memory();
}

int WorkerProcess::exit_code() const {
  constexpr int kSignalBase = 128;
  return departure_.signal() != 0 ? kSignalBase + departure_.signal() : departure_.exit_code();
}

void WorkerProcess::signal(int signal) {
  if (signal == SIGUSR1 || signal == SIGUSR2) {
    waiting_signals_.insert(signal);
    send_waiting();
  } else if (!has_ended()) {
    ::kill(pid_, signal);
  }
}

void WorkerProcess::send_waiting() {
  if (has_ended()) return;
  std::erase_if(waiting_signals_, [&](int signal) {
    return handles_signal(pid_, signal) && ::kill(pid_, signal) == 0;
  });
}

void WorkerProcess::kill() const { ::kill(-pid_, SIGKILL); }

}  // namespace molora
