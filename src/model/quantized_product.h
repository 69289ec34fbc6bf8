// Products with a quantised frozen weight: it is expanded a few rows or columns at a time, never
// whole, and each such tile goes through one matrix product with all of the inner dimension. A
// result is therefore rounded once, as with a plain weight.
//
//   T tokens on this rank, D input width, O output width
#pragma once

#include <ATen/ATen.h>

#include "tensor/blockwise_quantization.h"

namespace molora {

using at::Tensor;

// x W^T + b: [tokens, out] in x's type. x_TD: [tokens, in]. bias_O: [out], or undefined.
Tensor quantized_product(const Tensor& x_TD, const QuantizedMatrix& weight_OD,
                         const Tensor& bias_O);

// d_x += d_out W, in place. d_x_TD: [tokens, in]; undefined: made here, as d_out W. d_out_TO:
// [tokens, out].
void add_quantized_input_gradient(Tensor& d_x_TD, const Tensor& d_out_TO,
                                  const QuantizedMatrix& weight_OD);

}  // namespace molora
