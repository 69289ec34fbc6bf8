// Whether the routers use their experts: their load over the latest steps, which experts are dead,
// which routers have collapsed.
//
// A window of steps slides over the run in at most ten parts of equal length; at the end of each
// part every router is judged by the sums of the parts. An expert is dead when its share of the
// load is below dead_below / experts, a router has collapsed when more than collapsed_above of its
// experts are dead, and has recovered when that is over with twice dead_below. The load is fed with
// whole numbers that are equal on every rank, so that every rank comes to the same decisions
// without asking, and a resumed run to those of one that was never stopped.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "checkpoint.pb.h"
#include "model/adapter.h"
#include "run_config.pb.h"

namespace molora {

using at::Tensor;

// Something that has changed, or has not although it should have.
struct RouterAlarm {
  enum class Kind { kCollapsed, kStillCollapsed, kRecovered };
  Kind kind = Kind::kCollapsed;
  int64_t step = 0;   // after which it was found; steps count from 1
  int64_t since = 0;  // the step of the alarm that goes on, or ends
  int64_t router = 0;
  std::string name;           // "layers.0.mlp.gate_proj"
  std::vector<double> load;   // share of each expert over the window
  std::vector<int64_t> dead;  // experts
  RouterHealthConfig::Action action = RouterHealthConfig::warn;
};
// "collapsed", "still_collapsed", "recovered".
const char* alarm_kind_name(RouterAlarm::Kind kind);
// What a person is told: the router, its shares, what is done about it and what can be done.
std::string alarm_text(const RouterAlarm& alarm);

class RouterHealth {
 public:
  RouterHealth(const AdapterSet& adapters, const RouterConfig& config);

  // Goes on from what a run has stored. A record of another window or of other routers is left
  // aside: the watch begins anew.
  void restore(const RouterHealthRecord& record);
  RouterHealthRecord record() const;

  // counts_RE, prob_sum_RE: of all ranks, on the CPU, as RouterStatistics has them. Returns what is
  // to be told of the routers that were judged; with the action revive kCollapsed and
  // kStillCollapsed ask for it.
  std::vector<RouterAlarm> step_done(int64_t steps_done, const Tensor& counts_RE,
                                     const Tensor& prob_sum_RE);
  // The router's experts are others now: what was seen of it says nothing of them.
  void forget(int64_t router);

  bool is_collapsed(int64_t router) const { return collapsed_since_[index(router)] != 0; }
  bool has_collapsed() const;

  // Over the window as far as it has come: the share of each expert, and the dead ones.
  std::vector<double> load(int64_t router) const;
  std::vector<int64_t> dead(int64_t router) const;
  const std::string& name(int64_t router) const { return routers_[index(router)].name; }
  int64_t num_routers() const { return std::ssize(routers_); }

 private:
  struct Router {
    std::string name;
    int64_t num_experts = 0;
    bool is_dense = false;  // uses every expert: its load is the softmax
  };
  struct Part {
    int64_t steps = 0;
    std::vector<int64_t> load;  // router by router, expert by expert
  };
  static size_t index(int64_t router) { return static_cast<size_t>(router); }
  void add_load(Part& part, const Tensor& counts_RE, const Tensor& prob_sum_RE) const;
  std::vector<RouterAlarm> judge(int64_t steps_done);
  std::vector<int64_t> dead_of(int64_t router, const std::vector<double>& load,
                               double factor) const;
  int64_t window_steps() const { return part_steps_ * num_parts_; }

  RouterHealthConfig config_;
  std::vector<Router> routers_;
  int64_t most_experts_ = 0;
  int64_t part_steps_ = 1;
  int64_t num_parts_ = 1;
  int64_t steps_ = 0;  // watched
  std::deque<Part> parts_;
  std::vector<int64_t> collapsed_since_;
  std::vector<int64_t> judged_from_;
};

}  // namespace molora
