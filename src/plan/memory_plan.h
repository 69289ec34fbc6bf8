// The memory of one rank by class, predicted. Activations are not in it: how much of them is alive
// at once depends on the allocator and on kernels, and a wrong figure is worse than none.
#pragma once

#include "plan/plan_input.h"

namespace molora {

// Bytes, of the rank that holds most.
struct MemoryPlan {
  double base = 0;              // the slice of the frozen model
  double adapter = 0;           // trained parameters, in the master type
  double gradients = 0;         // one per parameter
  double moments = 0;           // AdamW's two per parameter, shared out when sharded (ZeRO-1)
  double gathered_experts = 0;  // `gather`: kept from the forward to the backward pass
  double checkpoint_copy = 0;   // what a rank writes of a checkpoint, copied before it writes
  double total() const {
    return base + adapter + gradients + moments + gathered_experts + checkpoint_copy;
  }
};

MemoryPlan memory_plan(const PlanInput& input, const ExchangeModes& modes);

// The part of one group of linears, without the base.
MemoryPlan group_memory(const PlanInput& input, LinearGroup group, ExchangeMode mode);

// Elements of the base model that a rank holds. Embedding and head rows are balanced, norms whole,
// biases of row-parallel linears whole.
int64_t base_slice_parameters(const PlanInput& input);

}  // namespace molora
