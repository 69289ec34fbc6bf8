// Tensors of random numbers that are a function of position: the same on every layout.
#pragma once

#include <cstdint>

#include <ATen/ATen.h>

namespace molora {

using at::Tensor;

// Fills `tensor` with uniform numbers in [-bound, bound). Element i (row-major) is a function of
// (key, first_index + i) alone, so that a slice of a larger tensor can be filled by itself.
// tensor: contiguous, fp32 or fp64, CPU.
void fill_uniform(Tensor& tensor, double bound, uint64_t key, uint64_t first_index);

// Inverted dropout: element [t, c] is 0 with probability p, else 1 / (1 - p). It is a function of
// (key, sample[t], position[t], c) alone: of the token's place in the data, not in the batch.
// sample_T, position_T: [tokens] int64, CPU. Returns [tokens, width] of `dtype`.
Tensor dropout_mask(const Tensor& sample_T, const Tensor& position_T, int64_t width, double p,
                    uint64_t key, at::ScalarType dtype);

}  // namespace molora
