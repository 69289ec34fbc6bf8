// Gates applied to a bottleneck (model/bottleneck.h).
//
//   T tokens, E experts, R experts * r
#pragma once

#include <cstdint>

#include <ATen/ATen.h>

namespace molora {

using at::Tensor;

// u times gate and scale: each expert's r columns times (weight * scale), which is rounded to u's
// type first. u_TR: [tokens, experts * r], fp32, bf16 or fp64. weights_TE: [tokens, experts], fp32
// (fp64 with fp64), or undefined: then u * scale. Differentiable with respect to both; the kernel
// sums the weights' gradient in at least fp32.
Tensor gate_and_scale(const Tensor& u_TR, const Tensor& weights_TE, double scale,
                      int64_t lora_rank);

}  // namespace molora
