// Experts that are whole MLPs with one router (MixLoRA; Li et al. 2024, arXiv 2404.15159):
//
//   w, S = route(x)                                      one choice for gate, up and down
//   h_e  = silu(W_g x + s B_g,e A_g,e x) * (W_u x + s B_u,e A_u,e x)
//   y    = sum over e in S of w_e (W_d h_e + s B_d,e A_d,e h_e)
//
// x of each linear after its dropout. A linear of the three that is frozen has no low-rank part.
// The frozen products are computed once for all experts: W_g x and W_u x as they stand, and, down
// being linear, W_d of sum over e in S of w_e h_e. (The paper's code computes W_d h_e for every
// expert of every token.) A bias of down counts as often as the weights sum to.
//
// Two ways, as of other experts (model/expert_way.h), which give the same numbers to rounding:
// grouped computes the pairs of a token and an expert that it uses alone, on the CPU; dense
// computes every expert for every token.
//
// Over tp ranks every rank has all tokens inside the border, routes them all and computes its slice
// of F: A of gate and up, B of down and the router are whole on each, and their gradients are sums
// over tp. Collectives besides those of model/parallel_linear.h (with `gather`: gather_experts of
// each linear): none; the two borders are
//   in    copy_to, or gather_rows with sequence parallelism
//   out   reduce_from, or scatter_rows
//
//   T tokens of the micro-batch, t of this rank, D hidden, F MLP of this rank, E experts, r LoRA
//   rank, P pairs
#pragma once

#include <optional>
#include <vector>

#include <ATen/ATen.h>

#include "kernels/pair_rows.h"
#include "model/parallel_layout.h"
#include "model/parallel_linear.h"

namespace molora {

using at::Tensor;

// The three linears of one MLP.
struct BlockLinears {
  SplitLinear gate;
  SplitLinear up;
  SplitLinear down;
};

// Whether the experts of this MLP are of this kind.
bool has_block_experts(const BlockLinears& linears);

// What the experts of an MLP make of its input, before down.
struct BlockStates {
  Tensor weights_TE;  // of the router, in its precision
  // Grouped: h of each pair, and which pairs there are.
  Tensor h_PF;
  ExpertRows rows;
  TokenPairs pairs;
  // Dense: h of every token, by expert.
  std::vector<Tensor> h_ETF;
};

// x: the state between linears, [T, D], or [t, D] with sequence parallelism.
// REQUIRES: has_block_experts(linears); their modes are `replicate` or `gather`.
BlockStates block_states(const Tensor& x, const BlockLinears& linears, const ForwardPass& pass);

// The state between linears again.
Tensor block_output(const BlockStates& states, const SplitLinear& down, const ForwardPass& pass);

}  // namespace molora
