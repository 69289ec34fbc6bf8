#include "kernels/gating.h"

#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "kernels/bodies/gate_scale_body.h"
#include "kernels/host/run_loop.h"
#include "kernels/kernel_choice.h"
#include "kernels/start_kernel.h"

namespace molora {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// What every pass over a bottleneck is told.
struct Gates {
  Tensor weights_TE;
  double scale;
  int64_t lora_rank;
};

Tensor gated(const Tensor& u, const Gates& gates) {
  const Tensor& weights = gates.weights_TE;
  Tensor h = at::empty_like(u);
  for_number_type(u.scalar_type(), [&](auto tag) {
    using Number = typename decltype(tag)::Type;
    const auto scale = static_cast<Wide<Number>>(gates.scale);
    if (host_kernels_wanted(u)) {
      run_loop(
          GateLoop<Number, Wide<Number>>{kernel_data<Number>(u), kernel_data<Wide<Number>>(weights),
                                         kernel_data<Number>(h), weights.size(1), gates.lora_rank,
                                         scale},
          u.size(0), u.size(1));
      return;
    }
    using Body = GateForward<Number, Wide<Number>>;
    start_kernel(Body{kernel_data<Number>(u), kernel_data<Wide<Number>>(weights),
                      kernel_data<Number>(h), weights.numel(), gates.lora_rank, scale,
                      RowGroups<Body::kThreads>::for_columns(gates.lora_rank)},
                 u.device());
  });
  return h;
}

struct GateGradients {
  Tensor d_u;
  Tensor d_weights;
};
GateGradients gate_gradients(const Tensor& u, const Gates& gates, const Tensor& d_h) {
  const Tensor& weights = gates.weights_TE;
  GateGradients of = {at::empty_like(u), at::empty_like(weights)};
  for_number_type(u.scalar_type(), [&](auto tag) {
    using Number = typename decltype(tag)::Type;
    const auto scale = static_cast<Wide<Number>>(gates.scale);
    if (host_kernels_wanted(u)) {
      run_loop(
          GateBackwardLoop<Number, Wide<Number>>{
              kernel_data<Number>(u), kernel_data<Wide<Number>>(weights), kernel_data<Number>(d_h),
              kernel_data<Number>(of.d_u), kernel_data<Wide<Number>>(of.d_weights), weights.size(1),
              gates.lora_rank, scale},
          u.size(0), u.size(1));
      return;
    }
    using Body = GateBackward<Number, Wide<Number>>;
    start_kernel(Body{kernel_data<Number>(u), kernel_data<Wide<Number>>(weights),
                      kernel_data<Number>(d_h), kernel_data<Number>(of.d_u),
                      kernel_data<Wide<Number>>(of.d_weights), weights.numel(), gates.lora_rank,
                      scale, RowGroups<Body::kThreads>::for_columns(gates.lora_rank, kWarpLanes)},
                 u.device());
  });
  return of;
}

class FusedGates : public torch::autograd::Function<FusedGates> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& u_TR, const Tensor& weights_TE,
                        double scale, int64_t lora_rank) {
    RECORD_FUNCTION("molora::gates", c10::ArrayRef<const c10::IValue>{});
    const Tensor u = u_TR.contiguous();
    const Tensor weights = weights_TE.contiguous();
    const Tensor h = gated(u, {weights, scale, lora_rank});
    context->save_for_backward({u, weights});
    context->saved_data["scale"] = scale;
    context->saved_data["lora_rank"] = lora_rank;
    return h;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    RECORD_FUNCTION("molora::gates_backward", c10::ArrayRef<const c10::IValue>{});
    const auto saved = context->get_saved_variables();
    const Gates gates = {saved[1], context->saved_data["scale"].toDouble(),
                         context->saved_data["lora_rank"].toInt()};
    const auto [d_u, d_weights] = gate_gradients(saved[0], gates, gradients[0].contiguous());
    return {d_u, d_weights, Tensor(), Tensor()};
  }
};

}  // namespace

Tensor gate_and_scale(const Tensor& u_TR, const Tensor& weights_TE, double scale,
                      int64_t lora_rank) {
  if (!weights_TE.defined()) return u_TR * scale;
  MOLORA_CHECK_EQ(u_TR.size(1), weights_TE.size(1) * lora_rank, "columns of the bottleneck");
  MOLORA_CHECK_EQ(u_TR.size(0), weights_TE.size(0), "tokens with weights");
  if (fused_kernels_wanted(u_TR) || host_kernels_wanted(u_TR)) {
    return FusedGates::apply(u_TR, weights_TE, scale, lora_rank);
  }
  const Tensor gates_TE1 = (weights_TE * scale).to(u_TR.scalar_type()).unsqueeze(2);
  const Tensor u_TEr = u_TR.unflatten(1, {weights_TE.size(1), lora_rank});
  return (u_TEr * gates_TE1).flatten(1);
}

}  // namespace molora
