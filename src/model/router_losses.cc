#include "model/router_losses.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "base/error.h"
#include "model/router.h"

namespace molora {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// What a loss whose derivative by p is slope sends into the logits of p = softmax(z):
// p_e (slope_e - sum_j p_j slope_j).
Tensor through_softmax(const Tensor& p_TE, const Tensor& slope_TE) {
  return p_TE * (slope_TE - (p_TE * slope_TE).sum(1, /*keepdim=*/true));
}

// Identity on the logits; adds the losses' gradient on the way back. The gradient is a closed form
// of the logits, so it works inside a recomputed region and does not need the losses' values: with
// p = softmax(z) and g_e = E f_e,
//   d balance / d z_e = p_e (g_e - sum_j p_j g_j),   d z-loss / d z_e = 2 logsumexp(z) p_e,
//   d H / d z_e = - p_e (log p_e + H),
// and with the gate threshold, where P is the mean of p - t, d balance / d t = - sum_j g_j.
class AuxiliaryGradientHook : public torch::autograd::Function<AuxiliaryGradientHook> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& logits_TZ, const Tensor& samples_T,
                        int64_t adapter, int64_t auxiliary) {
    context->save_for_backward({logits_TZ, samples_T});
    context->saved_data["adapter"] = adapter;
    context->saved_data["auxiliary"] = auxiliary;
    return logits_TZ.view_as(logits_TZ);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto& auxiliary = *pointer<AuxiliaryGradient>(context->saved_data["auxiliary"].toInt());
    const auto& adapter = *pointer<LinearAdapter>(context->saved_data["adapter"].toInt());
    const int64_t experts = adapter.spec.num_routed();
    // Sub-tokens are rows of their own: a mean over them.
    const double scale = auxiliary.scale / static_cast<double>(adapter.spec.heads);
    const Tensor& logits_TZ = saved[0];
    const Tensor logits_TE = logits_TZ.slice(1, 0, experts);
    const Tensor p_TE = at::softmax(logits_TE, 1);
    Tensor gradient_TZ = gradients[0].clone();
    Tensor gradient_TE = gradient_TZ.slice(1, 0, experts);
    if (auxiliary.balance_coef != 0.0) {
      add_balance(gradient_TZ, logits_TZ, p_TE, adapter, auxiliary, scale);
    }
    if (auxiliary.z_coef != 0.0) {
      const Tensor lse_T1 = at::logsumexp(logits_TE, 1, /*keepdim=*/true);
      gradient_TE.add_(p_TE * lse_T1 * (2.0 * scale * auxiliary.z_coef));
    }
    if (auxiliary.entropy_coef != 0.0) {
      const Tensor log_p_TE = at::log_softmax(logits_TE, 1);
      gradient_TE.add_(through_softmax(p_TE, log_p_TE) * (-scale * auxiliary.entropy_coef));
    }
    if (auxiliary.slope_RSE.defined()) {
      const Tensor sample_T = at::searchsorted(auxiliary.sample_numbers_S, saved[1].contiguous());
      const Tensor slope_TE = auxiliary.slope_RSE.select(0, adapter.router_index)
                                  .slice(1, 0, experts)
                                  .index_select(0, sample_T)
                                  .to(p_TE.scalar_type());
      gradient_TE.add_(through_softmax(p_TE, slope_TE));
    }
    return {gradient_TZ, Tensor(), Tensor(), Tensor()};
  }

 private:
  template <typename Object>
  static const Object* pointer(int64_t address) {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): saved data can hold integers, not pointers
    return reinterpret_cast<const Object*>(address);
  }

  static void add_balance(Tensor& gradient_TZ, const Tensor& logits_TZ, const Tensor& p_TE,
                          const LinearAdapter& adapter, const AuxiliaryGradient& auxiliary,
                          double scale) {
    MOLORA_CHECK(auxiliary.share_RE.defined(), "the shares of the step are not set");
    const int64_t experts = p_TE.size(1);
    const double factor = scale * auxiliary.balance_coef;
    const Tensor g_E = auxiliary.share_RE.select(0, adapter.router_index)
                           .slice(0, 0, experts)
                           .to(p_TE.scalar_type()) *
                       static_cast<double>(experts);
    const Tensor mean_T1 = p_TE.mv(g_E).unsqueeze(1);
    gradient_TZ.slice(1, 0, experts).add_(p_TE * (g_E - mean_T1) * factor);
    if (adapter.spec.gate != RouterConfig::threshold) return;
    const Tensor share_T1 = at::sigmoid(logits_TZ.slice(1, experts));
    gradient_TZ.slice(1, experts)
        .sub_(share_T1 * (1.0 - share_T1) * g_E.sum() * (adapter.spec.threshold_max * factor));
  }
};

// Of each router, in order.
std::vector<const AdapterSpec*> router_specs(const AdapterSet& adapters) {
  std::vector<const AdapterSpec*> specs(static_cast<size_t>(adapters.num_routers()));
  for (const LinearAdapter& linear : adapters.linears()) {
    if (linear.router_index >= 0) specs[static_cast<size_t>(linear.router_index)] = &linear.spec;
  }
  return specs;
}

// [routers] fp64: how many experts each has.
Tensor experts_of_routers(const std::vector<const AdapterSpec*>& specs) {
  Tensor experts_R = at::empty({static_cast<int64_t>(specs.size())}, at::kDouble);
  for (size_t r = 0; r < specs.size(); ++r) {
    experts_R[static_cast<int64_t>(r)] = static_cast<double>(specs[r]->num_routed());
  }
  return experts_R;
}

double combined(const Tensor& losses_R, RouterConfig::AcrossRouters across) {
  return (across == RouterConfig::sum ? losses_R.sum() : losses_R.mean()).item<double>();
}

// [samples, experts] fp64: 1 +- delta.
Tensor preference(const Tensor& prefers_first_S, int64_t experts, double delta) {
  const Tensor is_first_E =
      at::arange(experts, prefers_first_S.options().dtype(at::kLong)) < experts / 2;
  const Tensor matches_SE = prefers_first_S.unsqueeze(1) == is_first_E.unsqueeze(0);
  return 1.0 + delta * (2.0 * matches_SE.to(at::kDouble) - 1.0);
}

struct SquaredVariation {
  Tensor value;
  Tensor slope;  // its derivative by each of the numbers
};
// var / mean^2 of all the numbers, with N the number of them and m their mean:
// d / d x_i = 2 (x_i - m) / ((N - 1) m^2) - 2 var / (N m^3).
SquaredVariation squared_variation(const Tensor& numbers) {
  const auto count = static_cast<double>(numbers.numel());
  const Tensor mean = numbers.mean();
  const Tensor apart = numbers - mean;
  const Tensor variance = apart.square().sum() / (count - 1.0);
  return {variance / mean.square(),
          2.0 * apart / ((count - 1.0) * mean.square()) - 2.0 * variance / (count * mean.pow(3))};
}

}  // namespace

Tensor with_auxiliary_gradient(const Tensor& logits_TZ, const Tensor& samples_T,
                               const LinearAdapter& adapter, const AuxiliaryGradient& auxiliary) {
  if (!auxiliary.is_active() || !logits_TZ.requires_grad()) return logits_TZ;
  if (auxiliary.slope_RSE.defined()) {
    MOLORA_CHECK(samples_T.defined(), "the localized loss needs to know the tokens");
    MOLORA_CHECK_EQ(samples_T.size(0), logits_TZ.size(0), "tokens of the logits");
  }
  const Tensor asked_T =
      samples_T.defined() ? samples_T : at::empty({0}, logits_TZ.options().dtype(at::kLong));
  return AuxiliaryGradientHook::apply(logits_TZ, asked_T, reinterpret_cast<int64_t>(&adapter),
                                      reinterpret_cast<int64_t>(&auxiliary));
}

Tensor expert_shares(const Tensor& counts_RE, int64_t num_tokens, const AdapterSet& adapters,
                     RouterConfig::AcrossRouters across) {
  const Tensor counts = counts_RE.to(at::kDouble);
  const bool is_open = router_specs(adapters).front()->has_open_choice();
  Tensor share_RE =
      is_open ? counts / static_cast<double>(num_tokens) : counts / counts.sum(1, /*keepdim=*/true);
  if (across != RouterConfig::concat) return share_RE;
  return share_RE.mean(0, /*keepdim=*/true).expand_as(share_RE);
}

AuxiliaryLosses auxiliary_losses(const RouterStatistics& statistics, const AdapterSet& adapters,
                                 RouterConfig::AcrossRouters across) {
  if (adapters.num_routers() == 0 || statistics.num_tokens == 0) return {};
  const auto tokens = static_cast<double>(statistics.num_tokens);
  const Tensor share_RE =
      expert_shares(statistics.counts_RE, statistics.num_tokens, adapters, across);
  Tensor mean_prob_RE = statistics.prob_sum_RE / tokens;
  if (across == RouterConfig::concat) {
    mean_prob_RE = mean_prob_RE.mean(0, /*keepdim=*/true).expand_as(mean_prob_RE);
  }
  const Tensor experts_R = experts_of_routers(router_specs(adapters));
  AuxiliaryLosses losses{.balance = combined(experts_R * (share_RE * mean_prob_RE).sum(1), across),
                         .z = combined(statistics.z_sum_R / tokens, across)};
  if (statistics.entropy_sum_R.defined()) {
    losses.entropy = combined(statistics.entropy_sum_R / tokens, across);
  }
  return losses;
}

LocalizedLoss localized_loss(const Tensor& importance_RSE, const Tensor& prefers_first_S,
                             double delta, const AdapterSet& adapters,
                             RouterConfig::AcrossRouters across) {
  const std::vector<const AdapterSpec*> specs = router_specs(adapters);
  LocalizedLoss loss{at::zeros({}, importance_RSE.options()), at::zeros_like(importance_RSE)};
  if (across == RouterConfig::concat) {
    const Tensor factors_SE = preference(prefers_first_S, specs.front()->num_routed(), delta);
    const auto [value, slope_SE] = squared_variation(importance_RSE.sum(0) * factors_SE);
    loss.value = value;
    loss.slope_RSE.copy_((slope_SE * factors_SE).unsqueeze(0).expand_as(importance_RSE));
    return loss;
  }
  const double part = across == RouterConfig::sum ? 1.0 : 1.0 / static_cast<double>(specs.size());
  for (size_t r = 0; r < specs.size(); ++r) {
    const auto router = static_cast<int64_t>(r);
    const int64_t experts = specs[r]->num_routed();
    const Tensor factors_SE = preference(prefers_first_S, experts, delta);
    const auto [value, slope_SE] =
        squared_variation(importance_RSE[router].slice(1, 0, experts) * factors_SE);
    loss.value += part * value;
    loss.slope_RSE[router].slice(1, 0, experts).copy_(part * slope_SE * factors_SE);
  }
  return loss;
}

std::vector<bool> tasks_of_first_half(const LocalizedBalanceConfig& config,
                                      const std::vector<std::string>& tasks) {
  std::vector<bool> prefers(tasks.size(), false);
  for (const std::string& name : config.tasks()) {
    const auto found = std::find(tasks.begin(), tasks.end(), name);
    if (found == tasks.end()) {
      throw ConfigError(fmt::format(
          "adapter.router.localized_balance.tasks: no sample of the training data is of task '{}'; "
          "the tasks of the data are '{}'. Write some of these (data.train[].task names that of "
          "files whose samples name none)",
          name, fmt::join(tasks, "', '")));
    }
    prefers[static_cast<size_t>(found - tasks.begin())] = true;
  }
  return prefers;
}

}  // namespace molora
