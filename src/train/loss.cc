#include "train/loss.h"

#include <algorithm>

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "base/mutation.h"
#include "kernels/cross_entropy.h"
#include "parallel/tensor_collectives.h"
#include "watch/place.h"

namespace molora {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Hands out a sum whose gradient with respect to the states is already known.
class KnownGradient : public torch::autograd::Function<KnownGradient> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& states_ND, const Tensor& sum,
                        const Tensor& gradient_ND) {
    (void)states_ND;
    context->save_for_backward({gradient_ND});
    return sum.clone();
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const Tensor gradient_ND = context->get_saved_variables()[0];
    return {gradient_ND * gradients[0].to(gradient_ND.scalar_type()), Tensor(), Tensor()};
  }
};

// log-sum-exp of each token's logits over the whole vocabulary, and its target's logit.
struct Normalizer {
  Tensor log_sum_n1;
  Tensor max_n1;
  Tensor target_n1;
};

// logits_nv: of this rank's vocabulary. row_n1: the target's row here, -1 where it is not here.
// Each rank contributes its maximum, its sum relative to that, and the target's logit or 0; all
// ranks combine the contributions in rank order, so that they agree to the bit.
Normalizer normalize(const CausalLM& model, const Tensor& logits_nv, const Tensor& row_n1) {
  Communicator& tp = model.layout().tp();
  const auto [own_max_n1, own_sum_n1, own_target_n1] = sum_logits(logits_nv, row_n1);
  if (tp.size() == 1 || MOLORA_MUTANT(kVocabularyLocal)) {
    return {own_max_n1 + own_sum_n1.log(), own_max_n1, own_target_n1};
  }
  const PlaceScope scope({WorkPlace::kNoLayer, Direction::kForward, "loss"});
  const Tensor own_3n = at::cat({own_max_n1, own_sum_n1, own_target_n1}, 1).t();
  const std::vector<int64_t> rows(static_cast<size_t>(tp.size()), 3);
  const Tensor all_P3n = all_gather_rows(tp, own_3n, rows).view({tp.size(), 3, -1});
  const Tensor max_n1 = std::get<0>(all_P3n.select(1, 0).max(0)).unsqueeze(1);
  Tensor sum_n1 = at::zeros_like(max_n1);
  Tensor target_n1 = at::zeros_like(max_n1);
  for (int64_t rank = 0; rank < tp.size(); ++rank) {
    const Tensor of_rank = all_P3n[rank];
    sum_n1 += of_rank[1].unsqueeze(1) * (of_rank[0].unsqueeze(1) - max_n1).exp_();
    target_n1 += of_rank[2].unsqueeze(1);
  }
  return {max_n1 + sum_n1.log(), max_n1, target_n1};
}

}  // namespace

TokenLoss next_token_loss(const CausalLM& model, const Tensor& states_ND, const Tensor& targets_N,
                          int64_t chunk) {
  MOLORA_CHECK_EQ(states_ND.size(0), targets_N.size(0));
  const bool needs_gradient = states_ND.requires_grad() && at::GradMode::is_enabled();
  const Tensor fixed_ND = states_ND.detach();
  const int64_t num_tokens = targets_N.size(0);
  const bool is_double = fixed_ND.scalar_type() == at::kDouble;
  const Slice& vocabulary = model.vocabulary();
  TokenLoss loss;
  loss.nll_N =
      at::empty({num_tokens}, fixed_ND.options().dtype(is_double ? at::kDouble : at::kFloat));
  loss.is_top_N = at::empty({num_tokens}, fixed_ND.options().dtype(at::kBool));
  Tensor gradient_ND = needs_gradient ? at::empty_like(fixed_ND) : Tensor();
  {
    const at::NoGradGuard no_grad;
    for (int64_t begin = 0; begin < num_tokens; begin += chunk) {
      const int64_t end = std::min(begin + chunk, num_tokens);
      const Tensor target_n1 = targets_N.slice(0, begin, end).unsqueeze(1);
      const Tensor logits_nv = at::linear(fixed_ND.slice(0, begin, end), model.head_weight_vD());
      const Tensor is_here_n1 =
          (target_n1 >= vocabulary.begin).logical_and(target_n1 < vocabulary.end());
      const Tensor row_n1 = at::where(is_here_n1, target_n1 - vocabulary.begin, -1);
      const Normalizer of = normalize(model, logits_nv, row_n1);
      loss.nll_N.slice(0, begin, end).copy_((of.log_sum_n1 - of.target_n1).squeeze(1));
      loss.is_top_N.slice(0, begin, end).copy_((of.max_n1 == of.target_n1).squeeze(1));
      if (!needs_gradient) continue;
      Tensor gradient_nD = gradient_ND.slice(0, begin, end);
      at::mm_out(gradient_nD, into_gradient(logits_nv, of.log_sum_n1, row_n1),
                 model.head_weight_vD());
    }
  }
  // Summed in fp64: the sum of many tokens must not depend on how they were grouped.
  const Tensor sum = loss.nll_N.sum(at::kDouble);
  loss.sum = needs_gradient ? KnownGradient::apply(states_ND, sum, gradient_ND) : sum;
  return loss;
}

}  // namespace molora
