#include "kernels/norm.h"

#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "kernels/bodies/rms_norm_body.h"
#include "kernels/host/run_loop.h"
#include "kernels/kernel_choice.h"
#include "kernels/start_kernel.h"

namespace molora {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// A warp reads a row of this length in 32 steps.
constexpr int64_t kMostColumnsOfWarp = 1024;

// Calls work(number tag, lanes of a row) for these rows.
template <typename Work>
void for_rows(const Tensor& x, const Work& work) {
  for_number_type(x.scalar_type(), [&](auto tag) {
    if (x.size(-1) <= kMostColumnsOfWarp) {
      work(tag, std::integral_constant<int, kWarpLanes>{});
    } else {
      work(tag, std::integral_constant<int, 256>{});
    }
  });
}

struct Norm {
  Tensor y;
  Tensor scales;  // [rows]
};

Norm norm_of_rows(const Tensor& x, const Tensor& weight, double eps) {
  const int64_t columns = x.size(-1);
  const int64_t rows = columns == 0 ? 0 : x.numel() / columns;
  Norm norm = {at::empty_like(x), at::empty({rows}, x.options().dtype(wide_type(x)))};
  if (host_kernels_wanted(x)) {
    for_number_type(x.scalar_type(), [&](auto tag) {
      using Number = typename decltype(tag)::Type;
      run_loop(NormLoop<Number>{kernel_data<Number>(x), kernel_data<Number>(weight),
                                kernel_data<Number>(norm.y), kernel_data<Wide<Number>>(norm.scales),
                                columns, static_cast<Wide<Number>>(eps)},
               rows, columns);
    });
    return norm;
  }
  for_rows(x, [&](auto tag, auto lanes) {
    using Number = typename decltype(tag)::Type;
    start_kernel(
        RmsNorm<Number, decltype(lanes)::value>{
            kernel_data<Number>(x), kernel_data<Number>(weight), kernel_data<Number>(norm.y),
            kernel_data<Wide<Number>>(norm.scales), rows, columns, static_cast<Wide<Number>>(eps)},
        x.device());
  });
  return norm;
}

Tensor norm_gradient(const Tensor& x, const Tensor& weight, const Tensor& scales,
                     const Tensor& d_y) {
  Tensor d_x = at::empty_like(x);
  const int64_t columns = x.size(-1);
  if (host_kernels_wanted(x)) {
    for_number_type(x.scalar_type(), [&](auto tag) {
      using Number = typename decltype(tag)::Type;
      run_loop(NormBackwardLoop<Number>{kernel_data<Number>(x), kernel_data<Number>(weight),
                                        kernel_data<Wide<Number>>(scales), kernel_data<Number>(d_y),
                                        kernel_data<Number>(d_x), columns},
               scales.numel(), columns);
    });
    return d_x;
  }
  for_rows(x, [&](auto tag, auto lanes) {
    using Number = typename decltype(tag)::Type;
    start_kernel(
        RmsNormBackward<Number, decltype(lanes)::value>{
            kernel_data<Number>(x), kernel_data<Number>(weight), kernel_data<Wide<Number>>(scales),
            kernel_data<Number>(d_y), kernel_data<Number>(d_x), scales.numel(), columns},
        x.device());
  });
  return d_x;
}

class FusedRmsNorm : public torch::autograd::Function<FusedRmsNorm> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x_rows, const Tensor& weight,
                        double eps) {
    RECORD_FUNCTION("molora::rms_norm", c10::ArrayRef<const c10::IValue>{});
    const Tensor x = x_rows.contiguous();
    const Norm norm = norm_of_rows(x, weight, eps);
    context->save_for_backward({x, weight, norm.scales});
    return norm.y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    RECORD_FUNCTION("molora::rms_norm_backward", c10::ArrayRef<const c10::IValue>{});
    const auto saved = context->get_saved_variables();
    const Tensor d_x = norm_gradient(saved[0], saved[1], saved[2], gradients[0].contiguous());
    return {d_x, Tensor(), Tensor()};
  }
};

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  MOLORA_CHECK(weight.dim() == 1 && weight.scalar_type() == x.scalar_type() &&
               !weight.requires_grad());
  MOLORA_CHECK_EQ(x.size(-1), weight.size(0), "columns of the norm");
  if (fused_kernels_wanted(x) || host_kernels_wanted(x)) {
    return FusedRmsNorm::apply(x, weight.contiguous(), eps);
  }
  const Tensor wide = x.to(wide_type(x));
  const Tensor mean_square = wide.square().mean(-1, /*keepdim=*/true);
  return weight * (wide * at::rsqrt(mean_square + eps)).to(x.scalar_type());
}

}  // namespace molora
