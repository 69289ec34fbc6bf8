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

// The same for new tokens of sequences whose earlier tokens are in `cache`; adds the new ones to
// it.
Tensor attend_cached(const Tensor& q_THA, const Tensor& k_THA, const Tensor& v_THA,
                     const std::vector<int64_t>& starts, int64_t window, int64_t layer,
                     KvCache& cache);

}  // namespace molora
