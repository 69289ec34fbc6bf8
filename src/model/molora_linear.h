// A frozen linear plus its adapter: out = W x + b + s * sum over chosen e of w_e B_e A_e x.
//
// Computed in the bottleneck form: with A = [A_0; ..; A_{E-1}] and B = [B_0 .. B_{E-1}] and m(x)
// holding s * w_e in the r slots of each chosen expert and 0 elsewhere,
//   out = W x + b + B (m(x) * (A x)).
// Nothing wider than E * r is computed per token besides the output itself. This form, on one rank
// and of one linear, is the definition that every other way to compute an adapter is tested
// against; model/parallel_linear.h spreads it over ranks.
//
//   T tokens on this rank, D input width, O output width, E experts, r LoRA rank
#pragma once

#include <ATen/ATen.h>

#include "model/forward_context.h"
#include "model/frozen_linear.h"

namespace molora {

using at::Tensor;

// x_TD: [tokens, in]. Returns [tokens, out] in x's type. `adapter` null: the frozen linear alone.
Tensor adapted_linear(const Tensor& x_TD, const FrozenLinear& base, const LinearAdapter* adapter,
                      const ForwardContext& context);

}  // namespace molora
