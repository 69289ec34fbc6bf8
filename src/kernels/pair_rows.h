// Rows of pairs of a token and an expert that it uses, each as wide as the token's own: copied from
// their tokens, and summed back at them. What experts are made of that compute more than a low-rank
// product (model/block_experts.h). On the CPU.
//
// Bits depend neither on the number of threads nor on what other tokens there are.
//
//   T tokens, C columns, P pairs
#pragma once

#include <cstdint>

#include <ATen/ATen.h>

#include "kernels/expert_rows.h"

namespace molora {

using at::Tensor;

// Pairs by expert, as ExpertRows lists them, and where those of each token are.
struct TokenPairs {
  Tensor tokens_P;    // [pairs] int64: the token of each pair
  Tensor begins_T;    // [tokens + 1] int64: where the token's pairs begin in by_token_P
  Tensor by_token_P;  // [pairs] int64: pairs by token, within one ascending

  int64_t num_tokens() const { return begins_T.size(0) - 1; }
};
TokenPairs pairs_of_tokens(const ExpertRows& rows, int64_t num_tokens);

// Each pair's row is that of its token: [pairs, columns]. x_TC: [tokens, columns], fp32, bf16 or
// fp64. Differentiable.
Tensor spread_to_pairs(const Tensor& x_TC, const TokenPairs& pairs);

// For each token the sum of its pairs' rows times their weights, in ascending order of pairs, in at
// least fp32, rounded once: [tokens, columns] in the rows' type; zero for a token without pairs.
// rows_PC: [pairs, columns]; weights_P: [pairs], fp32 (fp64 for fp64). Differentiable with respect
// to both.
Tensor sum_over_pairs(const Tensor& rows_PC, const Tensor& weights_P, const TokenPairs& pairs);

}  // namespace molora
