// _flash_attention_forward() and its gradient for sequences packed one after the other, with the
// conditions of the CUDA kernels of LibTorch 2.11 (FlashAttention 2): half precision, at most 256
// numbers a head and a multiple of 8, offsets as int32 on the device.
//
// Computed sequence by sequence with the CPU's fused kernel, so that the numbers are those of a
// loop over scaled_dot_product_attention() on the CPU. The causal mask and the window are counted
// from the last key, as FlashAttention does.

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/core/LegacyTypeDispatch.h>

#include "cpu_call.h"
#include "operators.h"
#include "streams.h"

namespace molora::fake_torch {

namespace {

// Which keys a query sees: those from `left` before its own place to `right` after it; -1: no
// limit.
struct Window {
  int64_t left = -1;
  int64_t right = -1;
};

// Packed tensors of the CPU and how they are cut.
struct Packed {
  Tensor q_THA;
  Tensor k_THA;
  Tensor v_THA;
  std::vector<int> starts_q;
  std::vector<int> starts_k;
  Window window;
  optional<double> scale;

  size_t sequences() const { return starts_q.size() - 1; }
};

// One sequence as the CPU's fused kernel takes it: [1, heads, tokens, head].
struct Sequence {
  Tensor q, k, v;
  optional<Tensor> mask;
  bool is_causal = false;
  Tensor blind_queries;  // [tokens] bool: those that see no key; undefined when all see one
};

void check_types(const Tensor& query, const Tensor& key, const Tensor& value) {
  const at::ScalarType type = query.scalar_type();
  TORCH_CHECK(type == at::kHalf || type == at::kBFloat16,
              "FlashAttention only support fp16 and bf16 data type");
  TORCH_CHECK(key.scalar_type() == type, "query and key must have the same dtype");
  TORCH_CHECK(value.scalar_type() == type, "query and value must have the same dtype");
  for (const Tensor* tensor : {&query, &key, &value}) {
    TORCH_CHECK(tensor->is_cuda(), "Input tensor must be on CUDA");
    TORCH_CHECK(tensor->stride(-1) == 1, "Input tensor must have contiguous last dimension");
  }
}

void check_shapes(const Tensor& query, const Tensor& key, const Tensor& value) {
  TORCH_CHECK(query.dim() == 3 && key.dim() == 3 && value.dim() == 3,
              "fake torch: query, key and value must have shape (total, num_heads, head_size)");
  const int64_t head = query.size(2);
  TORCH_CHECK(head <= 256, "FlashAttention forward only supports head dimension at most 256");
  TORCH_CHECK(head % 8 == 0, "head_size must be a multiple of 8, this is ensured by padding!");
  TORCH_CHECK(query.size(1) % key.size(1) == 0,
              "Number of heads in key/value must divide number of heads in query");
  TORCH_CHECK(key.size(2) == head, "k must have shape (total_k, num_heads_k, head_size_og)");
  TORCH_CHECK(value.sizes() == key.sizes(),
              "v must have shape (total_k, num_heads_k, head_size_og)");
}

// The offsets as the kernel on the device reads them; the host does not wait.
std::vector<int> offsets(const Tensor& cum_seq, const char* name, int64_t total, int64_t longest) {
  TORCH_CHECK(cum_seq.scalar_type() == at::kInt, "cu_seqlens_", name, " must have dtype int32");
  TORCH_CHECK(cum_seq.is_cuda(), "cu_seqlens_", name, " must be on CUDA");
  TORCH_CHECK(cum_seq.is_contiguous(), "cu_seqlens_", name, " must be contiguous");
  TORCH_CHECK(cum_seq.dim() == 1 && cum_seq.numel() > 1, "batch size must be positive");
  const int* begin = static_cast<const int*>(cum_seq.const_data_ptr());
  const std::vector<int> starts(begin, begin + cum_seq.numel());
  TORCH_CHECK(starts.front() == 0 && starts.back() <= total, "fake torch: cu_seqlens_", name,
              " goes from ", starts.front(), " to ", starts.back(), ", but there are ", total,
              " rows");
  for (size_t s = 0; s + 1 < starts.size(); ++s) {
    TORCH_CHECK(starts[s] <= starts[s + 1], "fake torch: cu_seqlens_", name, " goes down at ",
                s + 1);
    TORCH_CHECK(starts[s + 1] - starts[s] <= longest, "fake torch: max_", name, " is ", longest,
                ", but sequence ", s, " has ", starts[s + 1] - starts[s], " rows");
  }
  return starts;
}

Window window_of(bool is_causal, optional<int64_t> left, optional<int64_t> right) {
  Window window{left.value_or(-1), right.value_or(-1)};
  if (is_causal) window.right = 0;
  return window;
}

// [tokens, heads, A] -> [1, heads * copies, tokens, A], each head `copies` times in a row.
Tensor heads_first(const Tensor& x_SHA, int64_t copies) {
  Tensor x_HSA = x_SHA.transpose(0, 1);
  if (copies > 1) x_HSA = x_HSA.repeat_interleave(copies, 0);
  return x_HSA.unsqueeze(0);
}

void set_mask(Sequence& sequence, const Window& window) {
  const int64_t num_queries = sequence.q.size(2);
  const int64_t num_keys = sequence.k.size(2);
  const Tensor query = at::arange(num_keys - num_queries, num_keys, at::kLong).unsqueeze(1);
  const Tensor key = at::arange(num_keys, at::kLong).unsqueeze(0);
  Tensor visible = at::ones({num_queries, num_keys}, at::kBool);
  if (window.right >= 0) visible = visible.logical_and(key - query <= window.right);
  const bool right_cuts = !visible.all().item<bool>();
  if (window.left >= 0) visible = visible.logical_and(query - key <= window.left);
  if (visible.all().item<bool>()) return;
  const bool left_cuts = window.left >= 0 && window.left + 1 < num_keys;
  if (right_cuts && !left_cuts && window.right == 0 && num_queries == num_keys) {
    sequence.is_causal = true;
    return;
  }
  const Tensor blind = visible.any(1).logical_not();
  if (blind.any().item<bool>()) sequence.blind_queries = blind;
  sequence.mask = at::zeros(visible.sizes(), sequence.q.options())
                      .masked_fill_(visible.logical_not(), -std::numeric_limits<float>::infinity());
}

Sequence sequence_of(const Packed& packed, size_t s) {
  const auto cut = [s](const Tensor& x, const std::vector<int>& starts) {
    return x.slice(0, starts[s], starts[s + 1]);
  };
  const int64_t copies = packed.q_THA.size(1) / packed.k_THA.size(1);
  Sequence sequence;
  sequence.q = heads_first(cut(packed.q_THA, packed.starts_q), 1);
  sequence.k = heads_first(cut(packed.k_THA, packed.starts_k), copies);
  sequence.v = heads_first(cut(packed.v_THA, packed.starts_k), copies);
  set_mask(sequence, packed.window);
  return sequence;
}

// Rows of `out_THA` and columns of `lse_HT` that belong to sequence s.
void forward_one(const Packed& packed, size_t s, const Tensor& out_THA, const Tensor& lse_HT) {
  const int begin = packed.starts_q[s];
  const int end = packed.starts_q[s + 1];
  if (begin == end) return;
  const Tensor out_SHA = out_THA.slice(0, begin, end);
  const Tensor lse_HS = lse_HT.slice(1, begin, end);
  if (packed.starts_k[s] == packed.starts_k[s + 1]) {
    out_SHA.zero_();
    lse_HS.fill_(std::numeric_limits<float>::infinity());
    return;
  }
  const Sequence sequence = sequence_of(packed, s);
  const auto [out, lse] = at::_scaled_dot_product_flash_attention_for_cpu(
      sequence.q, sequence.k, sequence.v, 0.0, sequence.is_causal, sequence.mask, packed.scale);
  out_SHA.copy_(out.squeeze(0).transpose(0, 1));
  lse_HS.copy_(lse.squeeze(0));
  if (sequence.blind_queries.defined()) {
    out_SHA.index_fill_(0, sequence.blind_queries.nonzero().squeeze(1), 0.0);
    lse_HS.masked_fill_(sequence.blind_queries, std::numeric_limits<float>::infinity());
  }
}

// [1, heads * copies, tokens, A] -> [tokens, heads, A], summed over the copies.
Tensor sum_copies(const Tensor& grad, int64_t copies) {
  Tensor grad_HSA = grad.squeeze(0);
  if (copies > 1) grad_HSA = grad_HSA.unflatten(0, {grad_HSA.size(0) / copies, copies}).sum(1);
  return grad_HSA.transpose(0, 1);
}

struct Gradients {
  Tensor dq_THA, dk_THA, dv_THA;
};

void backward_one(const Packed& packed, size_t s, const Packed& results, const Tensor& lse_HT,
                  const Gradients& gradients) {
  const int begin = packed.starts_q[s];
  const int end = packed.starts_q[s + 1];
  if (begin == end || packed.starts_k[s] == packed.starts_k[s + 1]) return;
  const Sequence sequence = sequence_of(packed, s);
  const auto rows = [&](const Tensor& x) { return heads_first(x.slice(0, begin, end), 1); };
  // The kernel's own layout of the logarithms: heads fastest.
  const Tensor lse = lse_HT.slice(1, begin, end).t().contiguous().t().unsqueeze(0);
  const auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
      rows(results.k_THA), sequence.q, sequence.k, sequence.v, rows(results.q_THA), lse, 0.0,
      sequence.is_causal, sequence.mask, packed.scale);
  const int64_t copies = packed.q_THA.size(1) / packed.k_THA.size(1);
  gradients.dq_THA.slice(0, begin, end).copy_(sum_copies(dq, 1));
  const auto keys = [&](const Tensor& x) {
    return x.slice(0, packed.starts_k[s], packed.starts_k[s + 1]);
  };
  keys(gradients.dk_THA).copy_(sum_copies(dk, copies));
  keys(gradients.dv_THA).copy_(sum_copies(dv, copies));
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> flash_forward(
    const Tensor& query, const Tensor& key, const Tensor& value, const optional<Tensor>& cum_seq_q,
    const optional<Tensor>& cum_seq_k, int64_t max_q, int64_t max_k, double dropout_p,
    bool is_causal, bool return_debug_mask, optional<double> scale, optional<int64_t> window_left,
    optional<int64_t> window_right, const optional<Tensor>& seqused_k,
    const optional<Tensor>& alibi_slopes) {
  TORCH_CHECK(cum_seq_q && cum_seq_k && dropout_p == 0.0 && !return_debug_mask && !seqused_k &&
                  !alibi_slopes,
              "fake torch: _flash_attention_forward is there for packed sequences without dropout, "
              "debug mask, seqused_k and alibi_slopes");
  check_types(query, key, value);
  check_shapes(query, key, value);
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  const c10::Stream stream = current_stream(query.device().index());
  wait_for(stream);
  Packed packed{cpu_tensor_over(query),
                cpu_tensor_over(key),
                cpu_tensor_over(value),
                {},
                {},
                window_of(is_causal, window_left, window_right),
                scale};
  packed.starts_q = offsets(*cum_seq_q, "q", query.size(0), max_q);
  packed.starts_k = offsets(*cum_seq_k, "k", key.size(0), max_k);
  TORCH_CHECK(packed.starts_q.size() == packed.starts_k.size(),
              "cu_seqlens_k must have shape (batch_size + 1)");
  const Tensor out_THA =
      at::full(query.sizes(), std::numeric_limits<float>::quiet_NaN(), packed.q_THA.options());
  const Tensor lse_HT =
      at::full({query.size(1), query.size(0)}, std::numeric_limits<float>::quiet_NaN(), at::kFloat);
  for (size_t s = 0; s < packed.sequences(); ++s) forward_one(packed, s, out_THA, lse_HT);
  const auto counter = query.options().dtype(at::kUInt64);
  return {device_copy(out_THA, stream), device_copy(lse_HT, stream), at::empty({2}, counter),
          at::empty({}, counter), at::empty({0}, query.options())};
}

std::tuple<Tensor, Tensor, Tensor> flash_backward(
    const Tensor& grad_out, const Tensor& query, const Tensor& key, const Tensor& value,
    const Tensor& out, const Tensor& log_sumexp, const Tensor& cum_seq_q, const Tensor& cum_seq_k,
    int64_t max_q, int64_t max_k, double dropout_p, bool is_causal, const Tensor& /*rng_state*/,
    const Tensor& /*unused*/, optional<double> scale, optional<int64_t> window_left,
    optional<int64_t> window_right) {
  TORCH_CHECK(dropout_p == 0.0, "fake torch: _flash_attention_backward is there without dropout");
  check_types(query, key, value);
  check_shapes(query, key, value);
  TORCH_CHECK(grad_out.scalar_type() == query.scalar_type(),
              "query and dout must have the same dtype");
  TORCH_CHECK(out.sizes() == query.sizes(), "out must have shape (total_q, num_heads, head_size)");
  TORCH_CHECK(log_sumexp.sizes() == IntArrayRef({query.size(1), query.size(0)}),
              "fake torch: logsumexp must have shape (num_heads, total_q)");
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  const c10::Stream stream = current_stream(query.device().index());
  wait_for(stream);
  Packed packed{cpu_tensor_over(query),
                cpu_tensor_over(key),
                cpu_tensor_over(value),
                {},
                {},
                window_of(is_causal, window_left, window_right),
                scale};
  packed.starts_q = offsets(cum_seq_q, "q", query.size(0), max_q);
  packed.starts_k = offsets(cum_seq_k, "k", key.size(0), max_k);
  Packed results;
  results.q_THA = cpu_tensor_over(out);
  results.k_THA = cpu_tensor_over(grad_out);
  const Gradients gradients{at::zeros_like(packed.q_THA, at::MemoryFormat::Contiguous),
                            at::zeros_like(packed.k_THA, at::MemoryFormat::Contiguous),
                            at::zeros_like(packed.v_THA, at::MemoryFormat::Contiguous)};
  const Tensor lse_HT = cpu_tensor_over(log_sumexp);
  for (size_t s = 0; s < packed.sequences(); ++s)
    backward_one(packed, s, results, lse_HT, gradients);
  return {device_copy(gradients.dq_THA, stream), device_copy(gradients.dk_THA, stream),
          device_copy(gradients.dv_THA, stream)};
}

}  // namespace molora::fake_torch
