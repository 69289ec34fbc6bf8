// The worker as its agent sees it from outside: whether it runs, how it ended, its memory.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <set>

#include "launcher/agent/memory_events.h"
#include "launcher/agent/shared_memory_files.h"
#include "supervision.pb.h"

namespace molora {

class WorkerProcess {
 public:
  // `process` is a child of this one and the leader of its process group.
  explicit WorkerProcess(pid_t process);

  // Asks the kernel whether the child has stopped, gone on or ended. Never blocks.
  void look();
  bool has_ended() const { return process_ == RankState::ended; }

  // pid, process and memory.
  void describe(RankState& state);
  // After its end: how, without its own word.
  const Departure& departure() const { return departure_; }
  // ... as an exit code: its own, or 128 + the signal.
  int exit_code() const;

  // Passes a signal on. USR1 and USR2, which ask a worker to save and leave, wait until it handles
  // them: before that they would kill it. look() sends what waits.
  void signal(int signal);
  // SIGKILL to all of its process group.
  void kill() const;
  // Notes the shared memory that it has mapped. To be called often; looks seldom once the worker
  // has been in the same phase for a while. `now` in seconds.
  void watch_shared_memory(Phase phase, double now);
  // ... at once.
  void note_shared_memory() { shared_memory_.look_at(pid_); }
  // Removes what it has left of that. REQUIRES: it has ended.
  void remove_shared_memory() { shared_memory_.remove(); }

 private:
  void send_waiting();

  pid_t pid_;
  RankState::Process process_ = RankState::running;
  Departure departure_;
  std::set<int> waiting_signals_;
  uint64_t peak_memory_bytes_ = 0;
  MemoryEvents memory_events_;
  SharedMemoryFiles shared_memory_;
  std::optional<Phase> phase_;
  double phase_since_ = 0.0;
  double next_look_ = 0.0;
};

}  // namespace molora
