// All that an agent knows of its worker: the process from outside and the black box within, as the
// messages that go to a supervisor or into files.
#pragma once

#include <string>

#include "launcher/agent/worker_process.h"
#include "supervision.pb.h"
#include "watch/black_box.h"

namespace molora {

class WorkerView {
 public:
  // Both must outlive the view.
  WorkerView(const BlackBox& box, WorkerProcess& process, double now);

  // The state with the seconds since progress counted by the caller's clock.
  RankState state(double now);
  RankRecord record(double now);
  // How the process ended, with the worker's own word.
  Departure departure() const;
  // Whether the worker has noted that it is about to fail.
  bool has_failure() const { return box_.failure().fault() != FAULT_NONE; }

 private:
  void complete(RankState& state, double now);

  const BlackBox& box_;
  WorkerProcess& process_;
  std::string host_;
  uint64_t progress_ = 0;
  double progress_at_;
};

}  // namespace molora
