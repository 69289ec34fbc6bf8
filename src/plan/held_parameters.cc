#include "plan/held_parameters.h"

#include <map>

namespace molora {

namespace {

using Counts = std::map<Axis, int64_t>;

// A column-parallel linear: A whole or by expert, B by output rows.
void count_column(const PlanInput& input, const PlannedLinear& linear, ExchangeMode mode,
                  Counts& counts) {
  const int64_t rows = linear.spec.num_experts * linear.spec.lora_rank;
  const bool is_kv = linear.kind == LinearKind::kK || linear.kind == LinearKind::kV;
  const Axis slice_axis = is_kv && input.mesh.kv_replicas > 1 ? Axis::kKvReplicas : Axis::kData;
  if (mode == ExchangeMode::kRank) {
    counts[Axis::kData] += rows / input.mesh.tp * linear.in;
  } else {
    counts[Axis::kAll] += rows * linear.in;
  }
  counts[slice_axis] += rows * linear.out_held;
}

// A row-parallel linear: A by input columns, B whole or by expert.
void count_row(const PlanInput& input, const PlannedLinear& linear, ExchangeMode mode,
               Counts& counts) {
  const int64_t rows = linear.spec.num_experts * linear.spec.lora_rank;
  counts[Axis::kData] += rows * linear.in_held;
  if (mode == ExchangeMode::kRank) {
    counts[Axis::kData] += rows / input.mesh.tp * linear.out;
  } else {
    counts[Axis::kAll] += rows * linear.out;
  }
}

void count_router(const PlannedLinear& linear, Split split, ExchangeMode mode, Counts& counts) {
  if (!linear.spec.has_router()) return;
  const bool is_split = split == Split::kRow && mode != ExchangeMode::kTokens;
  const int64_t weights = linear.spec.num_experts * (is_split ? linear.in_held : linear.in);
  counts[is_split ? Axis::kData : Axis::kAll] += weights;
  counts[Axis::kAll] += linear.spec.num_experts;  // bias
}

}  // namespace

std::vector<HeldParameters> held_parameters(const PlanInput& input, LinearGroup group,
                                            ExchangeMode mode) {
  Counts counts;
  const Split split = split_of(group);
  for (const PlannedLinear& linear : group_linears(input, group)) {
    if (!linear.is_adapted()) continue;
    const ExchangeMode own = linear.has_experts() ? mode : ExchangeMode::kReplicate;
    if (own == ExchangeMode::kTokens || own == ExchangeMode::kGather) {
      counts[Axis::kExpertData] += linear.spec.num_experts / input.mesh.ep * linear.spec.lora_rank *
                                   (linear.in + linear.out);
    } else if (split == Split::kColumn) {
      count_column(input, linear, own, counts);
    } else {
      count_row(input, linear, own, counts);
    }
    count_router(linear, split, own, counts);
  }
  std::vector<HeldParameters> held;
  for (const auto& [axis, count] : counts) {
    if (count > 0) held.push_back({axis, count * input.architecture.num_layers});
  }
  return held;
}

int64_t fetched_values(const PlanInput& input, LinearGroup group, ExchangeMode mode) {
  if (mode != ExchangeMode::kGather) return 0;
  int64_t values = 0;
  for (const PlannedLinear& linear : group_linears(input, group)) {
    if (!linear.has_experts()) continue;
    const int64_t remote = linear.spec.num_experts - linear.spec.num_experts / input.mesh.ep;
    values += remote * linear.spec.lora_rank * (linear.in_held + linear.out_held);
  }
  return values;
}

}  // namespace molora
