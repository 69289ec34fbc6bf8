// One start of the run: starts the ranks, hears their agents, and ends them all when one ends badly
// or nothing goes on (monitor.h decides).
#pragma once

#include <poll.h>

#include <optional>
#include <string>
#include <vector>

#include "launcher/plan/launch_plan.h"
#include "launcher/plan/machine.h"
#include "launcher/supervise/agent_server.h"
#include "launcher/supervise/child_process.h"
#include "launcher/supervise/log_relay.h"
#include "launcher/supervise/monitor.h"
#include "launcher/supervise/stop_request.h"
#include "launcher/system/awake_clock.h"
#include "launcher/system/signal_queue.h"
#include "run_config.pb.h"

namespace molora {

struct AttemptResult {
  std::optional<Reason> reason;  // without what is done about it; none: the ranks have left well
  int exit_code = 0;
  int64_t saved_step = 0;        // of the newest checkpoint
  int64_t first_saved_step = 0;  // of the one that it began with
};

class Attempt final : private AgentEvents {
 public:
  struct Options {
    const LaunchPlan& plan;
    const SupervisorConfig& config;
    const Machine& machine;
    std::vector<std::string> program_and_arguments;
    int number = 1;  // of the start, from 1
  };
  struct Surroundings {
    LogRelay& relay;
    SignalQueue& signals;
    StopRequest& stop;
  };
  // Starts the ranks. Throws: IoError when there is no launcher to start.
  Attempt(const Options& options, const Surroundings& surroundings);

  // Until it is over and no process of it is left on this host. To be called once.
  AttemptResult run();

 private:
  void on_hello(const AgentHello& hello) override;
  void on_message(int rank, const FromAgent& message) override;
  void on_gone(int rank) override;

  void wait();
  void step();
  void take_signals();
  void relay_launcher();
  void end_ranks(int exit_code);
  void leave_launcher_time(double seconds);
  AttemptResult stopped_result() const;

  Options options_;
  Surroundings around_;
  AwakeClock clock_;
  double now_;
  AgentServer server_;
  Monitor monitor_;
  ChildProcess child_;
  double next_beat_ = 0.0;
  bool has_passed_stop_on_ = false;
};

}  // namespace molora
