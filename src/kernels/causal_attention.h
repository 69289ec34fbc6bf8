// Causal attention of packed sequences on the CPU, by blocks of queries: full matrix products, and
// the host's loops between them.
//
//   T tokens, H heads, G heads of keys and values, A head size
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

namespace molora {

using at::Tensor;

// q_THA: [tokens, heads, head size]; k_TGA, v_TGA: [tokens, key heads, head size], each key head
// for heads / key heads heads in a row. starts: where sequences begin, and one past the last token;
// a token sees those of its own sequence up to itself, with a window > 0 at most so many, itself
// included. Scale 1 / sqrt(head size). Returns [tokens, heads, head size].
//
// fp32, bf16 or fp64; scores and softmax in at least fp32. Keeps its inputs and two numbers a row
// for the backward pass. A sequence's numbers do not depend on what else is in the batch.
// REQUIRES: host_kernels_wanted(q_THA); at least one token.
Tensor causal_attention(const Tensor& q_THA, const Tensor& k_TGA, const Tensor& v_TGA,
                        const std::vector<int64_t>& starts, int64_t window);

}  // namespace molora
