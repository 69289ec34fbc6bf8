// The products of one input with several matrices: the linears that read the same state, their
// adapters' A and their routers.
//
// One autograd function for all of them: the input is kept once, and its gradient is summed in one
// buffer instead of one tensor for each product and their sums. Frozen linears keep nothing for the
// backward pass and get no gradient. Trained matrices of one type ride in one matrix product.
//
//   T tokens on this rank, D input width, O outputs, R rows of a trained matrix
#pragma once

#include <vector>

#include <ATen/ATen.h>

#include "model/frozen_linear.h"

namespace molora {

using at::Tensor;

struct InputProducts {
  std::vector<Tensor> frozen_TO;   // x W^T + b of each frozen linear, in x's type
  std::vector<Tensor> trained_TR;  // x M^T of each trained matrix, in the matrix's type
  // The input once more, for what reads it later: that gradient becomes the buffer in which the
  // others are summed. It is used up, so that it has to be a tensor of its own.
  Tensor x_TD;
};

// x_TD: [tokens, in]. trained_RD: [rows, in] each, in x's type, or wider: then x is widened for its
// product (routers). Differentiable with respect to x and the trained matrices.
InputProducts input_products(const Tensor& x_TD, const std::vector<FrozenLinear>& frozen,
                             const std::vector<Tensor>& trained_RD);

}  // namespace molora
