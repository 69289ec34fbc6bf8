#include "train/loss.h"

#include <algorithm>

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"

namespace molora {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Hands out a sum whose gradient with respect to the states is already known.
class KnownGradient : public torch::autograd::Function<KnownGradient> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& hidden_ND, const Tensor& sum,
                        const Tensor& gradient_ND) {
    (void)hidden_ND;
    context->save_for_backward({gradient_ND});
    return sum.clone();
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const Tensor gradient_ND = context->get_saved_variables()[0];
    return {gradient_ND * gradients[0].to(gradient_ND.scalar_type()), Tensor(), Tensor()};
  }
};

}  // namespace

TokenLoss next_token_loss(const CausalLM& model, const Tensor& hidden_ND, const Tensor& targets_N,
                          int64_t chunk) {
  MOLORA_CHECK_EQ(hidden_ND.size(0), targets_N.size(0));
  const bool needs_gradient = hidden_ND.requires_grad() && at::GradMode::is_enabled();
  const Tensor states_ND = hidden_ND.detach();
  const int64_t num_tokens = targets_N.size(0);
  const bool is_double = states_ND.scalar_type() == at::kDouble;
  TokenLoss loss;
  loss.nll_N = at::empty(num_tokens, is_double ? at::kDouble : at::kFloat);
  loss.is_top_N = at::empty(num_tokens, at::kBool);
  Tensor gradient_ND = needs_gradient ? at::empty_like(states_ND) : Tensor();
  {
    const at::NoGradGuard no_grad;
    for (int64_t begin = 0; begin < num_tokens; begin += chunk) {
      const int64_t end = std::min(begin + chunk, num_tokens);
      const Tensor target_n1 = targets_N.slice(0, begin, end).unsqueeze(1);
      Tensor log_p_nV = at::log_softmax(model.logits(states_ND.slice(0, begin, end)), 1);
      const Tensor target_log_p_n1 = log_p_nV.gather(1, target_n1);
      loss.nll_N.slice(0, begin, end).copy_(-target_log_p_n1.squeeze(1));
      loss.is_top_N.slice(0, begin, end)
          .copy_((log_p_nV.amax(1, /*keepdim=*/true) == target_log_p_n1).squeeze(1));
      if (!needs_gradient) continue;
      Tensor d_logits_nV = log_p_nV.exp_();
      d_logits_nV.scatter_add_(1, target_n1, at::full_like(target_log_p_n1, -1.0));
      gradient_ND.slice(0, begin, end)
          .copy_(at::mm(d_logits_nV.to(states_ND.scalar_type()), model.head_weight_VD()));
    }
  }
  // Summed in fp64: the sum of many tokens must not depend on how they were grouped.
  const Tensor sum = loss.nll_N.sum(at::kDouble);
  loss.sum = needs_gradient ? KnownGradient::apply(hidden_ND, sum, gradient_ND) : sum;
  return loss;
}

}  // namespace molora
