// Whether, when and where a run that ended badly is started again: decisions without side effects.
//
//   - a stop that was asked for, and faults that would come back (is_permanent), are never
//   restarted;
//   - at most max_restarts restarts in a row without progress, which is a newer checkpoint;
//   progress
//     gives the whole budget back; out of memory: at most one;
//   - the delay doubles with each restart without progress, up to max_restart_delay;
//   - a host on which the run failed failures_of_host times in a row is left out from then on, if
//     the job can run without it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>

#include "run_config.pb.h"
#include "supervision.pb.h"

namespace molora {

// How an attempt ended.
struct AttemptEnd {
  FaultKind fault = FAULT_NONE;
  int64_t saved_step = 0;           // of the newest checkpoint
  std::optional<std::string> host;  // that the fault is attributed to, by its name in the plan
  bool is_stop_requested = false;
};

struct RestartDecision {
  enum Kind { kEnd, kRestart };
  Kind kind = kEnd;
  double delay_seconds = 0.0;
  std::set<std::string> left_out;  // all hosts that the job must do without from now on
  std::string why;                 // a sentence for the log
};

// Whether the job has a layout on the hosts that remain without these.
using CanRunWithout = std::function<bool(const std::set<std::string>& hosts)>;

class RestartPolicy {
 public:
  // `saved_step_at_start`: of the checkpoint that the run began from; 0: none.
  RestartPolicy(const SupervisorConfig& config, int64_t saved_step_at_start);

  // After each attempt.
  RestartDecision decide(const AttemptEnd& end, const CanRunWithout& can_run_without);

  // After wait_for_hosts was waited in vain for hosts that do not answer: on without them (at
  // once), or the end. REQUIRES: the latest decision was kRestart.
  RestartDecision give_up_hosts(const std::set<std::string>& unreachable,
                                const CanRunWithout& can_run_without);

 private:
  void note_progress(int64_t saved_step);
  // Counts the failure for its host; returns what there is to say about the host.
  std::string judge_host(const AttemptEnd& end, const CanRunWithout& can_run_without);

  SupervisorConfig config_;
  int64_t saved_step_;
  uint32_t restarts_ = 0;  // in a row without progress
  bool has_restarted_for_memory_ = false;
  std::string failing_host_;
  uint32_t failures_of_host_ = 0;  // in a row, of failing_host_
  std::set<std::string> left_out_;
};

}  // namespace molora
