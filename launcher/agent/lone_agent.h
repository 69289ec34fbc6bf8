// The agent of a worker under a user's own mpirun or srun: holds it to the deadlines of its run by
// itself, compares flight records through files of the run's folder, and writes reason.json. Of the
// agents of a run the first one to write it says the reason on standard error.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <optional>

#include "launcher/agent/flight_files.h"
#include "launcher/agent/rank_environment.h"
#include "launcher/agent/worker_process.h"
#include "launcher/agent/worker_view.h"
#include "launcher/system/awake_clock.h"
#include "launcher/system/signal_queue.h"
#include "watch/black_box.h"

namespace molora {

class LoneAgent {
 public:
  // The box and the signals must outlive it.
  LoneAgent(const RankEnvironment& rank, pid_t worker, const BlackBox& box, SignalQueue& signals);

  // Until the worker has ended; returns the exit code for this process. REQUIRES: SIGPIPE is
  // ignored.
  int run();

 private:
  void wait();
  void look_for_folder();
  bool is_expired(const RankState& state) const;
  void answer_request(double now);
  int expire();
  void explain_end();
  void give_reason(Reason reason);
  void end_worker();

  AwakeClock clock_;
  std::chrono::system_clock::time_point started_at_ = std::chrono::system_clock::now();
  pid_t parent_;
  RankEnvironment rank_;
  const BlackBox& box_;
  SignalQueue& signals_;
  WorkerProcess process_;
  WorkerView view_;
  std::filesystem::path folder_;  // "" until the worker knows it
  std::optional<FlightFiles> flights_;
  bool has_passed_end_on_ = false;  // a signal that ends was sent to us, and on to the worker
  bool has_answered_ = false;
  double next_look_ = 0.0;
};

}  // namespace molora
