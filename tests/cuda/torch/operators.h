// The operators for which the fake device has something of its own. registration.cc gives them to
// LibTorch; their signatures are LibTorch's.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <tuple>

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <c10/core/Storage.h>
#include <c10/core/Stream.h>

namespace molora::fake_torch {

using at::IntArrayRef;
using at::Tensor;
using std::optional;

// fallback.cc: any operator with a kernel for the CPU.
void run_on_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack);

// memory_ops.cc
Tensor empty(IntArrayRef sizes, optional<at::ScalarType> type, optional<c10::Layout> layout,
             optional<c10::Device> device, optional<bool> pin_memory,
             optional<c10::MemoryFormat> format);
Tensor empty_strided(IntArrayRef sizes, IntArrayRef strides, optional<at::ScalarType> type,
                     optional<c10::Layout> layout, optional<c10::Device> device,
                     optional<bool> pin_memory);
const Tensor& resize_(const Tensor& self, IntArrayRef sizes, optional<c10::MemoryFormat> format);
Tensor& set_storage(Tensor& self, c10::Storage storage, int64_t offset, IntArrayRef sizes,
                    IntArrayRef strides);
Tensor& set_whole_storage(Tensor& self, c10::Storage storage);
Tensor& set_tensor(Tensor& self, const Tensor& source);
Tensor& copy_(Tensor& self, const Tensor& source, bool non_blocking);
at::Scalar item(const Tensor& self);
void record_stream_of(Tensor& self, c10::Stream stream);

// dense_attention.cc: scaled_dot_product_attention() as the CPU computes it.
std::tuple<Tensor, Tensor, Tensor, Tensor> attend(const Tensor& query, const Tensor& key,
                                                  const Tensor& value, const optional<Tensor>& bias,
                                                  bool compute_log_sumexp, double dropout_p,
                                                  bool is_causal, optional<double> scale);
std::tuple<Tensor, Tensor, Tensor, Tensor> attend_backward(
    const Tensor& grad_out, const Tensor& query, const Tensor& key, const Tensor& value,
    const Tensor& bias, const Tensor& out, const Tensor& log_sumexp, const Tensor& philox_seed,
    const Tensor& philox_offset, double dropout_p, std::array<bool, 4> grad_input_mask,
    bool is_causal, optional<double> scale);

// varlen_attention.cc: FlashAttention on sequences packed one after the other.
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> flash_forward(
    const Tensor& query, const Tensor& key, const Tensor& value, const optional<Tensor>& cum_seq_q,
    const optional<Tensor>& cum_seq_k, int64_t max_q, int64_t max_k, double dropout_p,
    bool is_causal, bool return_debug_mask, optional<double> scale, optional<int64_t> window_left,
    optional<int64_t> window_right, const optional<Tensor>& seqused_k,
    const optional<Tensor>& alibi_slopes);
std::tuple<Tensor, Tensor, Tensor> flash_backward(
    const Tensor& grad_out, const Tensor& query, const Tensor& key, const Tensor& value,
    const Tensor& out, const Tensor& log_sumexp, const Tensor& cum_seq_q, const Tensor& cum_seq_k,
    int64_t max_q, int64_t max_k, double dropout_p, bool is_causal, const Tensor& rng_state,
    const Tensor& unused, optional<double> scale, optional<int64_t> window_left,
    optional<int64_t> window_right);

}  // namespace molora::fake_torch
