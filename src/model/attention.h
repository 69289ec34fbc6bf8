// Grouped-query causal attention within each sequence of a batch.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "model/kv_cache.h"

namespace molora {

using at::Tensor;

// softmax(q k^T / sqrt(A)) v, where token i of a sequence sees the tokens j <= i of the same
// sequence with i - j < window (window 0: all of them). Each group of H / Hkv query heads shares a
// key-value head.
//   q_THA [tokens, heads, head_dim], k_THA and v_THA [tokens, kv heads, head_dim]
//   starts: where each sequence begins, sequences + 1 entries
// Returns [tokens, heads * head_dim].
Tensor attend(const Tensor& q_THA, const Tensor& k_THA, const Tensor& v_THA,
              const std::vector<int64_t>& starts, int64_t window);

// All sequences of a batch in one kernel of a GPU (FlashAttention, Dao 2023, arXiv 2307.08691).
struct PackedSequences {
  Tensor starts_S;      // [sequences + 1] int32, on the GPU
  int64_t longest = 0;  // tokens of the longest sequence
};
// Whether there is such a kernel for these queries: of 16 bits on a GPU, of a head size that is a
// multiple of 8 and at most 256, and not without tokens.
bool can_attend_packed(const Tensor& q_THA);
// As attend(). REQUIRES: can_attend_packed().
Tensor attend_packed(const Tensor& q_THA, const Tensor& k_THA, const Tensor& v_THA,
                     const PackedSequences& sequences, int64_t window);

// The same for new tokens of sequences whose earlier tokens are in `cache`; adds the new ones to
// it.
Tensor attend_cached(const Tensor& q_THA, const Tensor& k_THA, const Tensor& v_THA,
                     const std::vector<int64_t>& starts, int64_t window, int64_t layer,
                     KvCache& cache);

}  // namespace molora
