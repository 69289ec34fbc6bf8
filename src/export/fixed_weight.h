// Adapters that are one matrix for every token: what can be added to a weight exactly.
#pragma once

#include <optional>

#include <ATen/ATen.h>

#include "model/adapter.h"

namespace molora {

using at::Tensor;

// Whether this adapter's output is a fixed matrix times the input, given the task where it routes
// by task: plain LoRA, DoRA, experts that are all used with weights that no token decides.
bool has_fixed_weight(const AdapterSpec& spec);

// The adapted weight: W + s sum of w_e B_e A_e, with DoRA its rows scaled to their magnitudes. In
// fp32. weight_OI: [out, in]. task: of adapters that route by task.
// REQUIRES: has_fixed_weight(linear.spec); the adapter is whole on this rank, on the CPU.
Tensor fixed_weight(const Tensor& weight_OI, const LinearAdapter& linear, int64_t task);

}  // namespace molora
