// What a cross entropy needs of a chunk of logits, and their gradient in their place.
//
//   n tokens, v vocabulary of this rank
#pragma once

#include <ATen/ATen.h>

namespace molora {

using at::Tensor;

// By token, each [tokens, 1], in fp32 (fp64 for fp64).
struct LogitSums {
  Tensor largest_n1;  // the largest logit; not a number where one of them is none
  Tensor sum_n1;      // sum of exp(logit - largest)
  Tensor target_n1;   // the target's logit, 0 where the target is not of this rank
};

// logits_nv: [tokens, vocabulary] with at least one column, fp32, bf16 or fp64. column_n1:
// [tokens, 1] int64, the target's column, or -1 where it is not of this rank. No gradient is
// recorded.
LogitSums sum_logits(const Tensor& logits_nv, const Tensor& column_n1);

// exp(logits - log_sum), less 1 at the target: the gradient of the sum of the tokens' negative
// log-likelihoods, in the logits' type and, as far as that goes, in their memory: they are gone
// afterwards. Arithmetic in at least fp32.
Tensor into_gradient(Tensor logits_nv, const Tensor& log_sum_n1, const Tensor& column_n1);

}  // namespace molora
