// Cross entropy of the next token over a frozen output matrix.
//
//   N supervised tokens, D hidden, V vocabulary
#pragma once

#include <cstdint>

#include <ATen/ATen.h>

#include "model/decoder.h"

namespace molora {

using at::Tensor;

struct TokenLoss {
  Tensor sum;    // scalar: sum of the negative log-likelihoods; differentiable through the states
  Tensor nll_N;  // [tokens], each token's negative log-likelihood; no gradient
  Tensor is_top_N;  // [tokens] bool: the target has the largest logit; no gradient
};

// hidden_ND: the states that predict, [tokens, hidden]; targets_N: [tokens] int64, the token after
// each. Logits are never held for more than `chunk` tokens at a time and never kept for the
// backward pass: the head is frozen, so its gradient with respect to the states is formed along the
// way. No tokens: sum is 0 and still connected to the graph.
TokenLoss next_token_loss(const CausalLM& model, const Tensor& hidden_ND, const Tensor& targets_N,
                          int64_t chunk = 512);

}  // namespace molora
