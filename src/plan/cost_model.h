// How long the predicted work takes: arithmetic / rate + memory / bandwidth + bytes / bandwidth +
// calls * latency, without overlap. First order: meant to rank the exchange modes, and to say which
// term decides, not to forecast a run.
#pragma once

#include <vector>

#include "plan/traffic_plan.h"
#include "plan/work_plan.h"

namespace molora {

// What one rank can do.
struct LinkSpeeds {
  double flops = 0;             // per second, in matrix products
  double memory_bandwidth = 0;  // bytes per second
  double link_bandwidth = 0;    // bytes that it sends per second
  double call_latency = 0;      // seconds that a collective takes at least

  // A processor core or two, ranks on one machine.
  static LinkSpeeds cpu() { return {5e10, 1e10, 2e9, 2e-5}; }
  // A GPU of 2022 or later with its peers on NVLink, bf16.
  static LinkSpeeds nvlink() { return {4e14, 2.5e12, 3e11, 2e-5}; }
};

// Seconds, by what they are spent on.
struct StepTime {
  double arithmetic = 0;
  double memory = 0;
  double links = 0;
  double latency = 0;
  double total() const { return arithmetic + memory + links + latency; }
};
StepTime operator+(const StepTime& a, const StepTime& b);
StepTime operator*(const StepTime& time, double factor);

StepTime time_of(const Work& work, const LinkSpeeds& speeds);
// The ranks send alike, all at once.
StepTime time_of(const std::vector<TrafficItem>& items, const MeshShape& mesh,
                 const LinkSpeeds& speeds);

// One group's adapters in one mode: all layers, one step.
struct GroupCost {
  double forward_bytes = 0;  // of the forward pass of all layers in one micro-step, over all ranks
  double step_bytes = 0;     // of one step, over all ranks, sums of gradients included
  double step_flops = 0;     // of one rank
  StepTime time;             // of one step
};
GroupCost group_cost(const PlanInput& input, LinearGroup group, ExchangeMode mode,
                     const LinkSpeeds& speeds);

// What every choice of modes has in common: the base and the loss.
StepTime base_time(const PlanInput& input, const LinkSpeeds& speeds);

// T*: the tokens of a micro-step for each rank (those of a data-parallel rank over tp) from which
// `gather` sends fewer bytes over ep than `tokens`. For one linear with one expert on each rank, in
// fp32 and without tp, it is E r / k but for gates and counts; experts that share a rank, or
// linears that share a row, make it larger. 0: the group has no experts, or expert_parallel is 1.
// REQUIRES: expert_parallel divides the number of experts.
double break_even_tokens(const PlanInput& input, LinearGroup group);

}  // namespace molora
