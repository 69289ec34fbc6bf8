#include "plan/held_parameters.h"

#include <map>

#include "model/adapter_placement.h"

namespace molora {

namespace {

using Counts = std::map<Axis, int64_t>;

// The axis of the ranks that hold the same slice; without key-value replicas that is dp.
Axis holders_axis(const PlanInput& input, SyncGroup sync) {
  const Axis axis = sync_axis(sync);
  return axis == Axis::kKvReplicas && input.mesh.kv_replicas == 1 ? Axis::kData : axis;
}

void count(const PlanInput& input, const TensorPlace& place, Counts& counts) {
  int64_t elements = 1;
  for (const int64_t size : place.slice_shape()) elements *= size;
  counts[holders_axis(input, place.sync)] += elements;
}

}  // namespace

std::vector<HeldParameters> held_parameters(const PlanInput& input, LinearGroup group,
                                            ExchangeMode mode) {
  Counts counts;
  // Slices are alike on all ranks: those of the first one are counted.
  const AdapterPlacement first{input.mesh, 0, all_groups(mode)};
  for (const PlannedLinear& linear : group_linears(input, group)) {
    if (!linear.is_adapted()) continue;
    const LinearPlace place = place_linear(input.architecture, linear.kind, linear.spec, first);
    count(input, place_of_A(place, linear.spec), counts);
    count(input, place_of_B(place, linear.spec), counts);
    if (linear.spec.is_dora) count(input, place_of_magnitude(place), counts);
    if (!linear.spec.has_router()) continue;
    if (linear.spec.has_choice_bias) count(input, place_of_choice_bias(linear.spec), counts);
    if (linear.spec.routes_by_task) continue;  // one router for all linears: next to nothing
    count(input, place_of_router_weight(place, linear.spec), counts);
    count(input, place_of_router_bias(linear.spec), counts);
  }
  std::vector<HeldParameters> held;
  for (const auto& [axis, elements] : counts) {
    if (elements > 0) held.push_back({axis, elements * input.architecture.num_layers});
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
