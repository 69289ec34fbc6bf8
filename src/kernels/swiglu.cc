#include "kernels/swiglu.h"

#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "kernels/host/run_loop.h"
#include "kernels/kernel_choice.h"
#include "kernels/start_kernel.h"

namespace molora {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// As it is if only whole rows lie apart.
Tensor with_whole_rows(const Tensor& x) { return x.stride(1) == 1 ? x : x.contiguous(); }

template <typename Number>
const Number* row_data(const Tensor& x) {
  return static_cast<const Number*>(x.const_data_ptr());
}

class FusedSwiglu : public torch::autograd::Function<FusedSwiglu> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& gate_TF, const Tensor& up_TF) {
    RECORD_FUNCTION("molora::swiglu", c10::ArrayRef<const c10::IValue>{});
    const Tensor gate = with_whole_rows(gate_TF);
    const Tensor up = with_whole_rows(up_TF);
    Tensor y = at::empty(gate.sizes(), gate.options());
    for_number_type(gate.scalar_type(), [&](auto tag) {
      using Number = typename decltype(tag)::Type;
      run_loop(
          SwigluLoop<Number>{row_data<Number>(gate), row_data<Number>(up), kernel_data<Number>(y),
                             gate.size(1), gate.stride(0), up.stride(0)},
          gate.size(0), gate.size(1));
    });
    context->save_for_backward({gate, up});
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    RECORD_FUNCTION("molora::swiglu_backward", c10::ArrayRef<const c10::IValue>{});
    const auto saved = context->get_saved_variables();
    const Tensor& gate = saved[0];
    const Tensor& up = saved[1];
    const Tensor d_y = gradients[0].contiguous();
    Tensor d_gate = at::empty_like(d_y);
    Tensor d_up = at::empty_like(d_y);
    for_number_type(gate.scalar_type(), [&](auto tag) {
      using Number = typename decltype(tag)::Type;
      run_loop(SwigluBackwardLoop<Number>{row_data<Number>(gate), row_data<Number>(up),
                                          kernel_data<Number>(d_y), kernel_data<Number>(d_gate),
                                          kernel_data<Number>(d_up), gate.size(1), gate.stride(0),
                                          up.stride(0)},
               gate.size(0), gate.size(1));
    });
    return {d_gate, d_up};
  }
};

}  // namespace

Tensor swiglu(const Tensor& gate_TF, const Tensor& up_TF) {
  MOLORA_CHECK(gate_TF.dim() == 2 && gate_TF.sizes() == up_TF.sizes() &&
                   gate_TF.scalar_type() == up_TF.scalar_type(),
               "a gate of {} elements for {}", gate_TF.numel(), up_TF.numel());
  if (host_kernels_wanted(gate_TF)) return FusedSwiglu::apply(gate_TF, up_TF);
  return at::silu(gate_TF) * up_TF;
}

}  // namespace molora
