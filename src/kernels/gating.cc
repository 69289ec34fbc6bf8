#include "kernels/gating.h"

#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "kernels/bodies/gate_scale_body.h"
#include "kernels/kernel_choice.h"
#include "kernels/start_kernel.h"

namespace molora {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class FusedGates : public torch::autograd::Function<FusedGates> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& u_TR, const Tensor& weights_TE,
                        double scale, int64_t lora_rank) {
    const Tensor u = u_TR.contiguous();
    const Tensor weights = weights_TE.contiguous();
    Tensor h = at::empty_like(u);
    for_number_type(u.scalar_type(), [&](auto tag) {
      using Number = typename decltype(tag)::Type;
      using Body = GateForward<Number, Wide<Number>>;
      start_kernel(
          Body{kernel_data<Number>(u), kernel_data<Wide<Number>>(weights), kernel_data<Number>(h),
               weights.numel(), lora_rank, static_cast<Wide<Number>>(scale),
               RowGroups<Body::kThreads>::for_columns(lora_rank)},
          u.device());
    });
    context->save_for_backward({u, weights});
    context->saved_data["scale"] = scale;
    context->saved_data["lora_rank"] = lora_rank;
    return h;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor& u = saved[0];
    const Tensor& weights = saved[1];
    const double scale = context->saved_data["scale"].toDouble();
    const int64_t lora_rank = context->saved_data["lora_rank"].toInt();
    const Tensor d_h = gradients[0].contiguous();
    Tensor d_u = at::empty_like(u);
    Tensor d_weights = at::empty_like(weights);
    for_number_type(u.scalar_type(), [&](auto tag) {
      using Number = typename decltype(tag)::Type;
      using Body = GateBackward<Number, Wide<Number>>;
      start_kernel(
          Body{kernel_data<Number>(u), kernel_data<Wide<Number>>(weights), kernel_data<Number>(d_h),
               kernel_data<Number>(d_u), kernel_data<Wide<Number>>(d_weights), weights.numel(),
               lora_rank, static_cast<Wide<Number>>(scale),
               RowGroups<Body::kThreads>::for_columns(lora_rank, kWarpLanes)},
          u.device());
    });
    return {d_u, d_weights, Tensor(), Tensor()};
  }
};

}  // namespace

Tensor gate_and_scale(const Tensor& u_TR, const Tensor& weights_TE, double scale,
                      int64_t lora_rank) {
  if (!weights_TE.defined()) return u_TR * scale;
  MOLORA_CHECK_EQ(u_TR.size(1), weights_TE.size(1) * lora_rank, "columns of the bottleneck");
  MOLORA_CHECK_EQ(u_TR.size(0), weights_TE.size(0), "tokens with weights");
  if (fused_kernels_wanted(u_TR)) return FusedGates::apply(u_TR, weights_TE, scale, lora_rank);
  const Tensor gates_TE1 = (weights_TE * scale).to(u_TR.scalar_type()).unsqueeze(2);
  const Tensor u_TEr = u_TR.unflatten(1, {weights_TE.size(1), lora_rank});
  return (u_TEr * gates_TE1).flatten(1);
}

}  // namespace molora
