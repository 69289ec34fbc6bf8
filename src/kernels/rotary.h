// Rotary position embedding of queries and keys (model/rope.h).
//
//   T tokens on this rank, H heads, A head size
#pragma once

#include <ATen/ATen.h>

namespace molora {

using at::Tensor;

// Turns the halves of each head into each other. x_THA: [tokens, heads, head_dim], fp32, bf16 or
// fp64; cos_TA, sin_TA: [tokens, head_dim] of x's type. Differentiable with respect to x. Both ways
// of computing it give the same bits.
Tensor apply_rotary(const Tensor& x_THA, const Tensor& cos_TA, const Tensor& sin_TA);

}  // namespace molora
