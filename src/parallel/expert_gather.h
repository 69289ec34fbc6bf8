// Experts that live on their ep rank, gathered for use; their gradients go back and are summed.
//
//   e experts held here, E all experts, r LoRA rank
#pragma once

#include <vector>

#include <ATen/ATen.h>

#include "comm/communicator.h"
#include "parallel/shard.h"

namespace molora {

using at::Tensor;

// own_erW: this rank's experts, [experts / ep, lora_rank, width]. columns: which part of the last
// dimension each ep member uses. Returns all experts in `type`, [experts, lora_rank, own columns].
// In the backward pass each member's gradient of its columns goes to the owner, which adds them up
// in rank order and fp32 (fp64 for fp64).
// Bytes sent: to each other member its columns of the own experts; the same back from it.
Tensor gather_experts(Communicator& ep, const Tensor& own_erW, const std::vector<Slice>& columns,
                      at::ScalarType type);

}  // namespace molora
