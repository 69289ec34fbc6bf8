#include "model/attention.h"

#include <ATen/record_function.h>

namespace molora {

namespace {

// [S, heads, A] -> [1, heads * copies, S, A], each head `copies` times in a row.
Tensor heads_first(const Tensor& x_SHA, int64_t copies) {
  Tensor x_HSA = x_SHA.transpose(0, 1);
  if (copies > 1) x_HSA = x_HSA.repeat_interleave(copies, 0);
  return x_HSA.unsqueeze(0);
}

// Which of `num_keys` keys the last `num_queries` positions see: [num_queries, num_keys] bool.
Tensor visible(int64_t num_queries, int64_t num_keys, int64_t window, at::Device device) {
  const auto options = at::TensorOptions().dtype(at::kLong).device(device);
  const Tensor query = at::arange(num_keys - num_queries, num_keys, options).unsqueeze(1);
  const Tensor key = at::arange(num_keys, options).unsqueeze(0);
  Tensor mask = key <= query;
  if (window > 0) mask = mask.logical_and(query - key < window);
  return mask;
}

// One sequence; its queries are the last positions of its keys. Returns [queries, heads * A].
Tensor attend_one(const Tensor& q_SHA, const Tensor& k_SHA, const Tensor& v_SHA, int64_t window) {
  const int64_t num_queries = q_SHA.size(0);
  const int64_t num_keys = k_SHA.size(0);
  const int64_t copies = q_SHA.size(1) / k_SHA.size(1);
  const bool window_cuts = window > 0 && num_keys > window;
  const bool is_plain_causal = num_queries == num_keys && !window_cuts;
  std::optional<Tensor> mask;
  if (!is_plain_causal && (num_queries > 1 || window_cuts)) {
    mask = visible(num_queries, num_keys, window, q_SHA.device());
  }
  const Tensor out_1HSA = at::scaled_dot_product_attention(
      heads_first(q_SHA, 1), heads_first(k_SHA, copies), heads_first(v_SHA, copies), mask,
      /*dropout_p=*/0.0, /*is_causal=*/is_plain_causal);
  return out_1HSA.squeeze(0).transpose(0, 1).flatten(1);
}

}  // namespace

Tensor attend(const Tensor& q_THA, const Tensor& k_THA, const Tensor& v_THA,
              const std::vector<int64_t>& starts, int64_t window) {
  RECORD_FUNCTION("molora::attend", {});
  std::vector<Tensor> parts;
  for (size_t s = 0; s + 1 < starts.size(); ++s) {
    if (starts[s] == starts[s + 1]) continue;
    const auto of_sequence = [&](const Tensor& x) { return x.slice(0, starts[s], starts[s + 1]); };
    parts.push_back(attend_one(of_sequence(q_THA), of_sequence(k_THA), of_sequence(v_THA), window));
  }
  // Without tokens there is nothing to attend to, but keys and values must stay in the graph.
  if (parts.empty()) return q_THA.flatten(1) + (k_THA.sum() + v_THA.sum());
  return parts.size() == 1 ? parts.front() : at::cat(parts, 0);
}

bool can_attend_packed(const Tensor& q_THA) {
  const bool has_type = q_THA.scalar_type() == at::kBFloat16 || q_THA.scalar_type() == at::kHalf;
  return q_THA.is_cuda() && has_type && q_THA.size(0) > 0 && q_THA.size(2) % 8 == 0 &&
         q_THA.size(2) <= 256;
}

Tensor attend_packed(const Tensor& q_THA, const Tensor& k_THA, const Tensor& v_THA,
                     const PackedSequences& sequences, int64_t window) {
  RECORD_FUNCTION("molora::attend", {});
  std::optional<int64_t> left;
  std::optional<int64_t> right;
  if (window > 0) {
    left = window - 1;  // tokens before the own one
    right = 0;
  }
  const Tensor out_THA = std::get<0>(at::_flash_attention_forward(
      q_THA.contiguous(), k_THA.contiguous(), v_THA.contiguous(), sequences.starts_S,
      sequences.starts_S, sequences.longest, sequences.longest, /*dropout_p=*/0.0,
      /*is_causal=*/true, /*return_debug_mask=*/false, /*scale=*/std::nullopt, left, right));
  return out_THA.flatten(1);
}

Tensor attend_cached(const Tensor& q_THA, const Tensor& k_THA, const Tensor& v_THA,
                     const std::vector<int64_t>& starts, int64_t window, int64_t layer,
                     KvCache& cache) {
  std::vector<Tensor> parts;
  for (size_t s = 0; s + 1 < starts.size(); ++s) {
    if (starts[s] == starts[s + 1]) continue;
    const auto of_sequence = [&](const Tensor& x) { return x.slice(0, starts[s], starts[s + 1]); };
    const KvCache::KeysValues all =
        cache.append(layer, static_cast<int64_t>(s), of_sequence(k_THA), of_sequence(v_THA));
    parts.push_back(attend_one(of_sequence(q_THA), all.keys_SHA, all.values_SHA, window));
  }
  if (parts.empty()) return q_THA.flatten(1);
  return parts.size() == 1 ? parts.front() : at::cat(parts, 0);
}

}  // namespace molora
