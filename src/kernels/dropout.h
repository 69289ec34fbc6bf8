// Dropout by masks that are a function of a token's place in the data (tensor/philox_tensor.h).
//
//   T tokens
#pragma once

#include <ATen/ATen.h>

#include "tensor/philox_tensor.h"

namespace molora {

using at::Tensor;

// x times its mask, as dropout_mask() has it. x_TC: [tokens, channels], fp32, bf16 or fp64, these
// channels of the whole; samples_T, positions_T: [tokens] int64 on x's device. Differentiable with
// respect to x. The kernel stores no mask: the backward pass draws it again.
Tensor apply_dropout(const Tensor& x_TC, const Tensor& samples_T, const Tensor& positions_T,
                     const DropoutChannels& channels, const Dropout& dropout);

// dropout_mask(), bit for bit, by operators that every device has, on the device of samples_T.
Tensor dropout_mask_by_operators(const Tensor& samples_T, const Tensor& positions_T,
                                 const DropoutChannels& channels, const Dropout& dropout,
                                 at::ScalarType dtype);

}  // namespace molora
