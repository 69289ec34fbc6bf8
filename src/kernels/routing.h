// A router's choice, weights and statistics from its logits (model/router.h has the formulas).
//
//   T tokens, E experts, K experts per token
#pragma once

#include <cstdint>

#include <ATen/ATen.h>

#include "kernels/router_gate.h"

namespace molora {

using at::Tensor;

// The k largest logits of each token, largest first, ties to the lower index; what is not a number
// comes before every number. logits_TE: [tokens, experts], fp32 or fp64. Returns [tokens, k] int64.
Tensor choose_experts(const Tensor& logits_TE, int64_t k);

// The weights of this choice: [tokens, experts] in the logits' type, 0 where not chosen.
// Differentiable with respect to the logits. chosen_TK: as choose_experts() gives them, of these
// logits or (in a recomputation) of others.
Tensor gate_weights(const Tensor& logits_TE, const Tensor& chosen_TK, RouterGate gate);

struct TopKRouting {
  Tensor chosen_TK;
  Tensor weights_TE;
};
// Both of them.
TopKRouting route_top_k(const Tensor& logits_TE, int64_t k, RouterGate gate);

// Where add_router_statistics() adds to; on the logits' device.
struct StatisticsOfRouter {
  Tensor counts_E;    // [experts] int64: tokens that chose each expert
  Tensor prob_sum_E;  // [experts] fp64: sum of the full softmax
  Tensor z_sum;       // one element, fp64: sum of logsumexp(z)^2
};
// Adds what these tokens did, in fp64 and an order that depends on the number of tokens alone. Rows
// of larger tensors will do: all three are changed in place. No gradient is recorded.
void add_router_statistics(const StatisticsOfRouter& sums, const Tensor& logits_TE,
                           const Tensor& chosen_TK);

}  // namespace molora
