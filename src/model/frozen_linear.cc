#include "model/frozen_linear.h"

#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>

#include "model/quantized_product.h"

namespace molora {

Tensor frozen_product(const Tensor& x_TD, const FrozenLinear& linear) {
  const at::NoGradGuard no_grad;
  RECORD_FUNCTION("molora::frozen_product", {});
  if (linear.quantized_OD) return quantized_product(x_TD, *linear.quantized_OD, linear.bias_O);
  return at::linear(x_TD, linear.weight_OD, linear.bias_O);
}

void add_input_gradient(Tensor& d_x_TD, const Tensor& d_out_TO, const FrozenLinear& linear) {
  const at::NoGradGuard no_grad;
  RECORD_FUNCTION("molora::add_input_gradient", {});
  if (linear.quantized_OD) {
    add_quantized_input_gradient(d_x_TD, d_out_TO, *linear.quantized_OD);
  } else if (d_x_TD.defined()) {
    d_x_TD.addmm_(d_out_TO, linear.weight_OD);
  } else {
    d_x_TD = at::mm(d_out_TO, linear.weight_OD);
  }
}

}  // namespace molora
