// Multi-head routing: experts of sub-tokens, in the manner of MH-MoE (Wu et al. 2024, arXiv
// 2404.15045).
//
// With H heads a linear's input x is cut into H parts x_h [in / H] and its output likewise; each
// part is a token of its own for one set of experts of that width:
//   z_h = W_s x_h + b_s,   delta_h = s sum over chosen e of w_he B_e A_e x_h
//   W_s [E, in / H], A_e [r, in / H], B_e [out / H, r]
// Every tp rank works on the heads whose outputs (or inputs) are its own and has all tensors whole:
// nothing is exchanged.
//
//   T tokens, d columns of the heads held
#pragma once

#include "model/bottleneck.h"

namespace molora {

// Of x_Td, [tokens, heads held * in / H], which are columns `columns` of the linear's input.
// routing: of the tokens, as routing_of() makes it. Returns their deltas, [tokens, heads held * out
// / H], in x's type.
Tensor head_experts(const Tensor& x_Td, const LinearAdapter& adapter, const ForwardContext& context,
                    const RoutingContext& routing, const Slice& columns);

// Whether an adapter is computed so.
inline bool has_heads(const AdapterSpec& spec) { return spec.has_router() && spec.heads > 1; }

}  // namespace molora
