// DoRA (Liu et al. 2024, arXiv 2402.09353): a plain LoRA whose outputs have a trained magnitude.
//
//   out_o = m_o / |V_o| (W x + s B A x)_o + b_o      V = W + s B A, |V_o| the norm of its row o
//
// As in section 4.3 of the paper, |V_o| counts as a constant in the backward pass. It is never made
// from V itself, which is as large as W:
//   |V_o|^2 = |W_o|^2 + 2 s b_o . (A W_o) + s^2 b_o . (A A^T) b_o      b_o column o of B [r, out]
//
//   T tokens, O outputs
#pragma once

#include <ATen/ATen.h>

#include "comm/communicator.h"
#include "model/adapter.h"
#include "model/frozen_linear.h"

namespace molora {

using at::Tensor;

// |V_o|: [outputs] in the adapter's type, no gradient. tp: the ranks that have the other columns of
// the same rows (one sum over them, [outputs]); null: the rows are whole.
Tensor dora_norms(const FrozenLinear& base, const LinearAdapter& adapter, Communicator* tp);

// sum_TO: W x + s B A x, or this rank's part of the sum over columns, without the bias. Returns the
// same times m / |V|, and the bias of `base` where it has one: [tokens, outputs] in sum_TO's type.
// Differentiable with respect to sum_TO and the magnitude.
Tensor with_magnitude(const Tensor& sum_TO, const FrozenLinear& base, const LinearAdapter& adapter,
                      Communicator* tp);

}  // namespace molora
