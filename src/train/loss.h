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

// states_ND: what predicts, as CausalLM::head_states gives it, [tokens, hidden]; targets_N:
// [tokens] int64, the token after each; both the same on every tp rank, and so is the result.
// Logits are never held for more than `chunk` tokens at a time and never kept for the backward
// pass: the head is frozen, so its gradient with respect to the states is formed along the way
// (each rank's part of it, from its rows of the vocabulary; the border behind head_states adds the
// parts up). No tokens: sum is 0 and still connected to the graph. Collectives on tp: per chunk an
// all-gather of three numbers a token, [3, tokens] in the logits' type.
TokenLoss next_token_loss(const CausalLM& model, const Tensor& states_ND, const Tensor& targets_N,
                          int64_t chunk = 512);

}  // namespace molora
