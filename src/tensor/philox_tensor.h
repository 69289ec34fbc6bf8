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

// The same with normal numbers of this deviation (Box and Muller 1958): elements 2i and 2i + 1 are
// made of the same two words.
void fill_normal(Tensor& tensor, double deviation, uint64_t key, uint64_t first_index);

// Which masks: with what probability a channel is dropped, and which stream of random numbers.
struct Dropout {
  double p = 0.0;
  uint64_t key = 0;
};
// A range of the channels of a token; the others are elsewhere.
struct DropoutChannels {
  int64_t begin = 0;
  int64_t end = 0;
};

// Inverted dropout: channel c of token t is 0 with probability p, else 1 / (1 - p). It is a
// function of (key, sample[t], position[t], c) alone: of the token's place in the data, not in the
// batch, and of the channel in the whole tensor, not in a slice of it. sample_T, position_T:
// [tokens] int64, CPU, contiguous. Returns [tokens, channels] of `dtype`.
Tensor dropout_mask(const Tensor& sample_T, const Tensor& position_T,
                    const DropoutChannels& channels, const Dropout& dropout, at::ScalarType dtype);

// Numbers of the standard Gumbel distribution, -log(-log(u)): the k highest of logits plus such
// numbers are k drawn without replacement from their softmax (Kool et al. 2019, arXiv 1903.06059).
// Number c of token t is a function of (key, sample[t], position[t], c) alone. samples_T,
// positions_T: [tokens] int64, CPU. Returns [tokens, count] of `dtype`, fp32 or fp64.
Tensor gumbel_of_tokens(const Tensor& samples_T, const Tensor& positions_T, int64_t count,
                        uint64_t key, at::ScalarType dtype);

}  // namespace molora
