// The agent of a worker whose run has a supervisor: relays what the worker prints, reports how it
// is, does what the supervisor says, and ends everything on this host when the supervisor is gone.
#pragma once

#include <sys/types.h>

#include "launcher/agent/agent_link.h"
#include "launcher/agent/rank_environment.h"
#include "launcher/agent/worker_process.h"
#include "launcher/agent/worker_view.h"
#include "launcher/system/awake_clock.h"
#include "launcher/system/output_pipe.h"
#include "launcher/system/signal_queue.h"
#include "watch/black_box.h"

namespace molora {

class SupervisedAgent {
 public:
  struct Parts {
    pid_t worker;
    const BlackBox& box;
    SignalQueue& signals;
    FileDescriptor out;  // to read what the worker prints
    FileDescriptor err;
  };
  SupervisedAgent(const RankEnvironment& rank, Parts parts);

  // Until the worker has ended and all is told; returns the exit code for this process.
  // REQUIRES: environment.supervisor, SIGPIPE is ignored.
  int run();

 private:
  void wait();
  void pass_signals_on();
  void relay(OutputPipe& pipe, LogLines::Stream stream);
  void relay_all();
  void report(double now);
  void obey(double now);
  void finish();
  void send_all();
  void end_everything();
  void send_lines(LogLines::Stream stream, std::string text);
  void send_departure();
  bool is_launcher_gone() const;

  AwakeClock clock_;
  pid_t parent_;
  SignalQueue& signals_;
  OutputPipe out_;
  OutputPipe err_;
  WorkerProcess process_;
  WorkerView view_;
  AgentLink link_;
  double heartbeat_timeout_;
  double next_beat_ = 0.0;
  Phase told_phase_ = PHASE_START;
  RankState::Process told_process_ = RankState::running;
  bool has_told_failure_ = false;
  std::optional<int> ordered_code_;  // the supervisor's: the worker is to be ended
};

}  // namespace molora
