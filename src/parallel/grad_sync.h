// Gradients summed over the ranks that hold copies of the same parameter.
#pragma once

#include <vector>

#include <ATen/ATen.h>

#include "comm/communicator.h"

namespace molora {

using at::Tensor;

// Replaces every tensor by its sum over the members, in fixed rank order and in its own precision
// (comm/fixed_order_sum.h): a plain SUM, never an average. All tensors travel in one buffer; two
// collectives, bytes as documented there.
// gradients: contiguous, CPU, all fp32 or all fp64, of equal sizes on every member.
void sum_gradients(Communicator& communicator, const std::vector<Tensor>& gradients);

}  // namespace molora
