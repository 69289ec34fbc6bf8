// Causal attention in bf16 on processors with AVX512-BF16, one head at a time: an implementation of
// kernels/causal_attention.h, which says what the tensors are.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

namespace molora {

using at::Tensor;

// Whether this machine has the instructions and the heads the size: whole vectors of 16 numbers.
bool can_pair_attention(const Tensor& q_THA);

// rows_TH2: of each token and head what the backward pass has to know (SoftmaxRow).
// REQUIRES for both: can_pair_attention(q_THA); head size contiguous in all tensors.
void paired_attention(const Tensor& q_THA, const Tensor& k_TGA, const Tensor& v_TGA,
                      const std::vector<int64_t>& starts, int64_t window, const Tensor& out_THA,
                      const Tensor& rows_TH2);

struct AttentionGradients {
  Tensor d_q_THA;
  Tensor d_k_TGA;
  Tensor d_v_TGA;
};

// Fills the gradients.
void paired_attention_backward(const Tensor& q_THA, const Tensor& k_TGA, const Tensor& v_TGA,
                               const Tensor& rows_TH2, const std::vector<int64_t>& starts,
                               int64_t window, const Tensor& d_out_THA,
                               const AttentionGradients& gradients);

}  // namespace molora
