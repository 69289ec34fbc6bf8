// Root-mean-square norm with a frozen weight (Zhang & Sennrich 2019, arXiv 1910.07467).
#pragma once

#include <ATen/ATen.h>

namespace molora {

using at::Tensor;

// x over the root of the mean of its squares along the last dimension, in at least fp32, times the
// weight in x's own type, as the published models do. x: [..., columns], fp32, bf16 or fp64;
// weight: [columns] of x's type. Differentiable with respect to x.
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps);

}  // namespace molora
