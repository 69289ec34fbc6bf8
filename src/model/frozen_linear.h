// The frozen part of a linear: the only place where its weight is read.
//
// Both functions are steps of autograd functions that know their own gradients: they record none.
//
//   T tokens on this rank, D input width, O output width
#pragma once

#include <optional>

#include <ATen/ATen.h>

#include "tensor/blockwise_quantization.h"

namespace molora {

using at::Tensor;

struct FrozenLinear {
  Tensor weight_OD;  // [out, in], or this rank's slice; undefined when it is quantised
  Tensor bias_O;     // [out], or undefined
  std::optional<QuantizedMatrix> quantized_OD = std::nullopt;  // in the place of weight_OD
};

// x W^T + b: [tokens, out] in x's type. x_TD: [tokens, in].
Tensor frozen_product(const Tensor& x_TD, const FrozenLinear& linear);

// d_x += d_out W, in place. d_x_TD: [tokens, in]; undefined: made here, as d_out W. d_out_TO:
// [tokens, out].
void add_input_gradient(Tensor& d_x_TD, const Tensor& d_out_TO, const FrozenLinear& linear);

}  // namespace molora
