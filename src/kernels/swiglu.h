// The gated unit of an MLP (Shazeer 2020, arXiv 2002.05202).
//
//   T tokens, F MLP
#pragma once

#include <ATen/ATen.h>

namespace molora {

using at::Tensor;

// silu(gate) * up, element by element, with silu(g) = g / (1 + exp(-g)). gate_TF, up_TF: [tokens,
// mlp], fp32, bf16 or fp64, both of one type. Differentiable with respect to both. The loops of the
// CPU round once and keep the inputs alone for the backward pass; the operators round silu(gate) to
// its type too, and keep it.
Tensor swiglu(const Tensor& gate_TF, const Tensor& up_TF);

}  // namespace molora
