// scaled_dot_product_attention() on the fake device: the CPU's choice between its two ways, and the
// CPU's fused kernel where it takes that one, so that the numbers are the CPU's.
//
// LibTorch's name for a fused kernel that takes a mask is "efficient attention", so that is what
// the fused way calls itself here; unlike the real one it takes any type that the CPU's takes.

#include <ATen/ATen.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/native/transformers/attention.h>

#include "cpu_call.h"
#include "operators.h"
#include "streams.h"

namespace molora::fake_torch {

namespace {

constexpr int64_t kMathBackend = 0;
constexpr int64_t kFlashBackend = 1;
constexpr int64_t kEfficientBackend = 2;

optional<Tensor> over(const optional<Tensor>& tensor) {
  return tensor && tensor->defined() ? optional<Tensor>(cpu_tensor_over(*tensor)) : std::nullopt;
}

int64_t choose(const Tensor& query, const Tensor& key, const Tensor& value,
               const optional<Tensor>& mask, double dropout_p, bool is_causal,
               optional<double> scale, bool enable_gqa) {
  const int64_t choice =
      at::_fused_sdp_choice(cpu_tensor_over(query), cpu_tensor_over(key), cpu_tensor_over(value),
                            over(mask), dropout_p, is_causal, scale, enable_gqa);
  return choice == kFlashBackend ? kEfficientBackend : kMathBackend;
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor, Tensor> attend(const Tensor& query, const Tensor& key,
                                                  const Tensor& value, const optional<Tensor>& bias,
                                                  bool /*compute_log_sumexp*/, double dropout_p,
                                                  bool is_causal, optional<double> scale) {
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  const c10::Stream stream = current_stream(query.device().index());
  wait_for(stream);
  const auto [out, log_sumexp] = at::_scaled_dot_product_flash_attention_for_cpu(
      cpu_tensor_over(query), cpu_tensor_over(key), cpu_tensor_over(value), dropout_p, is_causal,
      over(bias), scale);
  const auto seed = [&] { return at::empty({}, query.options().dtype(at::kLong)); };
  return {device_copy(out, stream), device_copy(log_sumexp, stream), seed(), seed()};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> attend_backward(
    const Tensor& grad_out, const Tensor& query, const Tensor& key, const Tensor& value,
    const Tensor& bias, const Tensor& out, const Tensor& log_sumexp, const Tensor& /*philox_seed*/,
    const Tensor& /*philox_offset*/, double dropout_p, std::array<bool, 4> grad_input_mask,
    bool is_causal, optional<double> scale) {
  TORCH_CHECK(!grad_input_mask[3], "fake torch: a mask of attention has no gradient");
  if (!grad_out.defined()) return {};
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  const c10::Stream stream = current_stream(query.device().index());
  wait_for(stream);
  const auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
      cpu_tensor_over(grad_out), cpu_tensor_over(query), cpu_tensor_over(key),
      cpu_tensor_over(value), cpu_tensor_over(out), cpu_tensor_over(log_sumexp), dropout_p,
      is_causal, over(bias), scale);
  return {device_copy(dq, stream), device_copy(dk, stream), device_copy(dv, stream), Tensor()};
}

}  // namespace molora::fake_torch

namespace at::native {
REGISTER_CUDA_DISPATCH(_fused_sdp_choice_stub, &molora::fake_torch::choose)
}  // namespace at::native
