#include "plan/cost_model.h"

#include <algorithm>

#include "plan/held_parameters.h"

namespace molora {

namespace {

// Gradient read, two moments and the parameter read and written.
constexpr double kOptimizerMoves = 7;

// The update of the group's parameters, each rank its part.
Work optimizer_work(const PlanInput& input, LinearGroup group, ExchangeMode mode) {
  double values = 0;
  for (const HeldParameters& held : held_parameters(input, group, mode)) {
    const int copies = input.is_optimizer_sharded ? axis_size(input.mesh, held.axis) : 1;
    values += product(held.count) / copies;
  }
  return {0, values * kOptimizerMoves * product(input.master_bytes)};
}

}  // namespace

StepTime operator+(const StepTime& a, const StepTime& b) {
  return {a.arithmetic + b.arithmetic, a.memory + b.memory, a.links + b.links,
          a.latency + b.latency};
}

StepTime operator*(const StepTime& time, double factor) {
  return {time.arithmetic * factor, time.memory * factor, time.links * factor,
          time.latency * factor};
}

StepTime time_of(const Work& work, const LinkSpeeds& speeds) {
  return {.arithmetic = work.flops / speeds.flops,
          .memory = work.memory_bytes / speeds.memory_bandwidth};
}

StepTime time_of(const std::vector<TrafficItem>& items, const MeshShape& mesh,
                 const LinkSpeeds& speeds) {
  return {.links = bytes_sent(items) / mesh.world() / speeds.link_bandwidth,
          .latency = calls_made(items) * speeds.call_latency};
}

GroupCost group_cost(const PlanInput& input, LinearGroup group, ExchangeMode mode,
                     const LinkSpeeds& speeds) {
  const auto steps = product(input.micro_steps);
  const Work work = adapter_work(input, group, mode) * steps;
  const auto micro_step = group_traffic(input, group, mode);
  const auto once = group_step_traffic(input, group, mode);
  GroupCost cost;
  cost.step_flops = work.flops;
  cost.forward_bytes = bytes_sent(micro_step, {.pass = Pass::kForward});
  cost.step_bytes = steps * bytes_sent(micro_step) + bytes_sent(once);
  cost.time = time_of(work + optimizer_work(input, group, mode), speeds) +
              time_of(micro_step, input.mesh, speeds) * steps + time_of(once, input.mesh, speeds);
  return cost;
}

StepTime base_time(const PlanInput& input, const LinkSpeeds& speeds) {
  const StepTime micro_step =
      time_of(base_work(input), speeds) + time_of(base_traffic(input), input.mesh, speeds);
  return micro_step * product(input.micro_steps);
}

double break_even_tokens(const PlanInput& input, LinearGroup group) {
  if (input.mesh.ep == 1) return 0;
  const auto bytes = [&](int64_t rank_tokens, ExchangeMode mode) {
    PlanInput other = input;
    other.tokens = rank_tokens * input.mesh.world();
    other.recompute = TrainConfig::none;
    return bytes_sent(group_traffic(other, group, mode), {.axis = Axis::kExpert});
  };
  // Both are straight lines in the number of tokens.
  constexpr int64_t kSpan = 1 << 20;
  const double fixed = bytes(0, ExchangeMode::kTokens);
  const double per_token = (bytes(kSpan, ExchangeMode::kTokens) - fixed) / kSpan;
  if (per_token == 0) return 0;
  return (bytes(0, ExchangeMode::kGather) - fixed) / per_token;
}

}  // namespace molora
