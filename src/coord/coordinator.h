// The coordinator: what the ranks of a run do about checkpoints, decided in one place.
//
// A role of rank 0, not a process. It is a state machine without side effects: reports and the time
// go in, orders come out, and nothing here reads a clock, writes a file or sends a message
// (checkpoint/checkpoint_saver.h does).
//
//   idle --begin--> writing --all written: commit--> closing --committed--> idle
//                      |                                |
//                      | a rank failed, or too slow     | the commit failed
//                      v                                v
//                  giving up --no writer busy: remove--> closing --dropped--> idle
//
// One save at a time. An interval that falls due while one is in flight is passed over; the best
// held-out loss so far, a request to stop and the end of the run wait for it. After a request to
// stop and at the end the ranks also wait for their own checkpoint, whose failure is the run's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "coord/checkpoint_policy.h"
#include "coordination.pb.h"

namespace molora {

class Coordinator {
 public:
  // `now`, here and below: seconds of any clock that does not jump. `run_id`: makes the names of
  // attempts differ from those of other processes that wrote into the same folder.
  Coordinator(const CheckpointConfig& config, int num_ranks, int64_t run_id, double now);

  // The orders at a step boundary; again with the same events while they say `wait`.
  // REQUIRES: one report per rank, in rank order.
  Orders decide(const StepEvents& events, const std::vector<WorkerReport>& reports, double now);

  // What the ranks wrote of the attempt that is being committed, by rank.
  const std::vector<PartRecord>& parts() const { return parts_; }

 private:
  enum class State { kIdle, kWriting, kGivingUp, kClosing };

  void observe(const std::vector<WorkerReport>& reports, double now, Orders& orders);
  void observe_writers(const std::vector<WorkerReport>& reports, double now, Orders& orders);
  void observe_closing(const WorkerReport& report, Orders& orders);
  void end_save(const std::string& failure, Orders& orders);
  void begin_save(const StepEvents& events, const std::string& reason, double now, Orders& orders);
  void consider_save(const StepEvents& events, double now, Orders& orders);
  bool is_current(const WorkerReport& report) const;

  CheckpointConfig config_;
  int64_t run_id_;
  int64_t num_attempts_ = 0;
  double begun_;  // the save, or the latest one, or the run

  State state_ = State::kIdle;
  // Of the save that is not idle.
  BeginSave save_;
  bool is_required_ = false;
  double blocked_seconds_ = 0.0;  // of the rank with the most
  double write_seconds_ = 0.0;
  std::string failure_;
  std::vector<bool> has_written_;
  std::vector<PartRecord> parts_;

  int64_t handled_step_ = -1;  // whose wish for a save was met or passed over
};

}  // namespace molora
