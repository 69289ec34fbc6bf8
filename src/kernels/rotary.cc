#include "kernels/rotary.h"

#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "kernels/bodies/rotary_body.h"
#include "kernels/host/run_loop.h"
#include "kernels/kernel_choice.h"
#include "kernels/start_kernel.h"

namespace molora {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Tables {
  Tensor cos_TA;
  Tensor sin_TA;
};

template <typename Number, int kPack>
void start_turn(const Tensor& x, const Tables& tables, const Tensor& y, RotaryTurn turn) {
  using Body = ApplyRotary<Number, kPack>;
  const auto units = [](const Tensor& of) {
    return static_cast<typename Body::Unit*>(of.data_ptr());
  };
  const int64_t half_units = x.size(2) / 2 / kPack;
  start_kernel(
      Body{units(x), units(tables.cos_TA), units(tables.sin_TA), units(y), x.size(0) * x.size(1),
           x.size(1), half_units, turn, RowGroups<Body::kThreads>::for_columns(half_units)},
      x.device());
}

// Heads are read where they lie.
Tensor turned_by_host(const Tensor& x_THA, const Tables& tables, RotaryTurn turn) {
  const Tensor x = x_THA.stride(2) == 1 ? x_THA : x_THA.contiguous();
  Tensor y = at::empty(x.sizes(), x.options());
  for_number_type(x.scalar_type(), [&](auto tag) {
    using Number = typename decltype(tag)::Type;
    run_loop(RotaryLoop<Number>{static_cast<const Number*>(x.const_data_ptr()),
                                kernel_data<Number>(tables.cos_TA),
                                kernel_data<Number>(tables.sin_TA), kernel_data<Number>(y),
                                x.size(1), x.size(2) / 2, x.stride(0), x.stride(1), turn},
             x.size(0), x.size(1) * x.size(2));
  });
  return y;
}

Tensor turned(const Tensor& x_THA, const Tables& tables, RotaryTurn turn) {
  if (host_kernels_wanted(x_THA)) return turned_by_host(x_THA, tables, turn);
  const Tensor x = x_THA.contiguous();
  Tensor y = at::empty_like(x);
  for_number_type(x.scalar_type(), [&](auto tag) {
    using Number = typename decltype(tag)::Type;
    constexpr int kPack = kWidestPack<Number>;
    const int64_t half = x.size(2) / 2;
    bool fits = true;
    for (const Tensor& of : {x, y, tables.cos_TA, tables.sin_TA}) {
      fits = fits && fits_packs<kPack>(kernel_data<Number>(of), half);
    }
    if (fits) {
      start_turn<Number, kPack>(x, tables, y, turn);
    } else {
      start_turn<Number, 1>(x, tables, y, turn);
    }
  });
  return y;
}

class FusedRotary : public torch::autograd::Function<FusedRotary> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x_THA, const Tensor& cos_TA,
                        const Tensor& sin_TA) {
    RECORD_FUNCTION("molora::rotary", c10::ArrayRef<const c10::IValue>{});
    context->save_for_backward({cos_TA, sin_TA});
    return turned(x_THA, {cos_TA, sin_TA}, RotaryTurn::kForward);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    RECORD_FUNCTION("molora::rotary_backward", c10::ArrayRef<const c10::IValue>{});
    const auto saved = context->get_saved_variables();
    return {turned(gradients[0], {saved[0], saved[1]}, RotaryTurn::kBackward), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor apply_rotary(const Tensor& x_THA, const Tensor& cos_TA, const Tensor& sin_TA) {
  MOLORA_CHECK(x_THA.dim() == 3 && x_THA.size(2) % 2 == 0);
  MOLORA_CHECK(cos_TA.sizes() == sin_TA.sizes() && cos_TA.dim() == 2 &&
                   cos_TA.size(0) == x_THA.size(0) && cos_TA.size(1) == x_THA.size(2),
               "tables of {} elements for {} tokens", cos_TA.numel(), x_THA.size(0));
  if (fused_kernels_wanted(x_THA) || host_kernels_wanted(x_THA)) {
    return FusedRotary::apply(x_THA, cos_TA.contiguous(), sin_TA.contiguous());
  }
  const int64_t half = x_THA.size(2) / 2;
  const Tensor turned_THA = at::cat({-x_THA.slice(2, half), x_THA.slice(2, 0, half)}, 2);
  return x_THA * cos_TA.unsqueeze(1) + turned_THA * sin_TA.unsqueeze(1);
}

}  // namespace molora
