#include "kernels/cross_entropy.h"

#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>

#include "base/check.h"
#include "kernels/host/run_loop.h"
#include "kernels/kernel_choice.h"
#include "kernels/start_kernel.h"

namespace molora {

namespace {

Tensor in_wide_type(const Tensor& x) { return x.to(wide_type(x)); }

// Where the target is not of this rank: the first column, and what is found there counts as 0.
Tensor target_of(const Tensor& logits_nv, const Tensor& column_n1) {
  return in_wide_type(logits_nv.gather(1, column_n1.clamp_min(0))) * (column_n1 >= 0);
}

LogitSums sum_by_host(const Tensor& logits_nv, const Tensor& column_n1) {
  RECORD_FUNCTION("molora::sum_logits", c10::ArrayRef<const c10::IValue>{});
  const Tensor logits = logits_nv.contiguous();
  Tensor target_n1 = target_of(logits, column_n1);
  LogitSums sums = {at::empty_like(target_n1), at::empty_like(target_n1), target_n1};
  for_number_type(logits.scalar_type(), [&](auto tag) {
    using Number = typename decltype(tag)::Type;
    run_loop(LogitSumsLoop<Number>{kernel_data<Number>(logits),
                                   kernel_data<Wide<Number>>(sums.largest_n1),
                                   kernel_data<Wide<Number>>(sums.sum_n1), logits.size(1)},
             logits.size(0), logits.size(1));
  });
  return sums;
}

Tensor into_gradient_by_host(const Tensor& logits_nv, const Tensor& log_sum_n1,
                             const Tensor& column_n1) {
  RECORD_FUNCTION("molora::logit_gradient", c10::ArrayRef<const c10::IValue>{});
  Tensor gradient = logits_nv.contiguous();
  const Tensor log_sums = log_sum_n1.contiguous();
  const Tensor columns = column_n1.contiguous();
  for_number_type(gradient.scalar_type(), [&](auto tag) {
    using Number = typename decltype(tag)::Type;
    run_loop(LogitGradientLoop<Number>{kernel_data<Number>(gradient),
                                       kernel_data<Wide<Number>>(log_sums),
                                       kernel_data<int64_t>(columns), gradient.size(1)},
             gradient.size(0), gradient.size(1));
  });
  return gradient;
}

void check_tokens(const Tensor& logits_nv, const Tensor& of_n1) {
  MOLORA_CHECK(logits_nv.dim() == 2 && logits_nv.size(1) > 0, "{} dimensions", logits_nv.dim());
  MOLORA_CHECK(of_n1.dim() == 2 && of_n1.size(1) == 1, "{} dimensions", of_n1.dim());
  MOLORA_CHECK_EQ(of_n1.size(0), logits_nv.size(0), "tokens of the logits");
}

}  // namespace

LogitSums sum_logits(const Tensor& logits_nv, const Tensor& column_n1) {
  const at::NoGradGuard no_grad;
  check_tokens(logits_nv, column_n1);
  if (host_kernels_wanted(logits_nv)) return sum_by_host(logits_nv, column_n1);
  const Tensor logits = in_wide_type(logits_nv);
  const Tensor largest_n1 = logits.amax(1, /*keepdim=*/true);
  return {largest_n1, (logits - largest_n1).exp_().sum(1, /*keepdim=*/true),
          target_of(logits, column_n1)};
}

Tensor into_gradient(Tensor logits_nv, const Tensor& log_sum_n1, const Tensor& column_n1) {
  const at::NoGradGuard no_grad;
  check_tokens(logits_nv, column_n1);
  check_tokens(logits_nv, log_sum_n1);
  if (host_kernels_wanted(logits_nv)) {
    return into_gradient_by_host(logits_nv, log_sum_n1, column_n1);
  }
  Tensor gradient = in_wide_type(logits_nv).sub_(log_sum_n1).exp_();
  const Tensor is_here_n1 = (column_n1 >= 0).to(gradient.scalar_type());
  gradient.scatter_add_(1, column_n1.clamp_min(0), -is_here_n1);
  return gradient.to(logits_nv.scalar_type());
}

}  // namespace molora
