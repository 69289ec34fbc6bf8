#include "plan/memory_plan.h"

#include "parallel/shard.h"
#include "plan/held_parameters.h"

namespace molora {

MemoryPlan group_memory(const PlanInput& input, LinearGroup group, ExchangeMode mode) {
  const auto w = product(input.master_bytes);
  MemoryPlan memory;
  for (const HeldParameters& held : held_parameters(input, group, mode)) {
    const int64_t holders = axis_size(input.mesh, held.axis);
    const int64_t copies = input.is_optimizer_sharded ? holders : 1;
    memory.adapter += product(held.count) * w;
    memory.gradients += product(held.count) * w;
    memory.moments += 2 * product(balanced_slice(held.count, copies, 0).length) * w;
    memory.checkpoint_copy += 3 * product(balanced_slice(held.count, holders, 0).length) * w;
  }
  const int64_t layers = input.are_layers_recomputed() ? 1 : input.architecture.num_layers;
  memory.gathered_experts =
      product(fetched_values(input, group, mode), layers, input.activation_bytes);
  return memory;
}

int64_t base_slice_parameters(const PlanInput& input) {
  const Architecture& model = input.architecture;
  const int64_t rows = balanced_slice(model.vocab_size, input.mesh.tp, 0).length;
  int64_t layer = 2 * model.hidden_size + (model.has_qk_norm ? 2 * model.head_dim : 0);
  for (const LinearGroup group : kLinearGroups) {
    const bool has_bias = group == LinearGroup::kQkv ? model.has_qkv_bias
                          : group == LinearGroup::kO ? model.has_o_bias
                                                     : model.has_mlp_bias;
    for (const PlannedLinear& linear : group_linears(input, group)) {
      layer += linear.in_held * linear.out_held + (has_bias ? linear.out_held : 0);
    }
  }
  return rows * model.hidden_size * (model.has_tied_head ? 1 : 2) + model.hidden_size +
         layer * model.num_layers;
}

MemoryPlan memory_plan(const PlanInput& input, const ExchangeModes& modes) {
  MemoryPlan sum;
  sum.base = product(base_slice_parameters(input), input.activation_bytes);
  for (const LinearGroup group : kLinearGroups) {
    const MemoryPlan part = group_memory(input, group, modes.of(group));
    sum.adapter += part.adapter;
    sum.gradients += part.gradients;
    sum.moments += part.moments;
    sum.gathered_experts += part.gathered_experts;
    sum.checkpoint_copy += part.checkpoint_copy;
  }
  return sum;
}

}  // namespace molora
