#include "model/router.h"

#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/check.h"
#include "base/mutation.h"
#include "kernels/routing.h"
#include "parallel/regions.h"

namespace molora {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

RouterGate gate_of(const AdapterSpec& spec) {
  switch (spec.gate) {
    case RouterConfig::softmax_topk:
      return RouterGate::kSoftmaxTopk;
    case RouterConfig::dense_softmax:
      return RouterGate::kDenseSoftmax;
    default:
      return RouterGate::kTopkSoftmax;
  }
}

// Identity on the logits; adds the auxiliary losses' gradient on the way back. The gradient is a
// closed form of the logits, so it works inside a recomputed region and does not need the losses'
// values: with p = softmax(z) and g_e = E f_e,
//   d balance / d z_e = p_e (g_e - sum_j p_j g_j),   d z-loss / d z_e = 2 logsumexp(z) p_e.
class AuxiliaryGradientHook : public torch::autograd::Function<AuxiliaryGradientHook> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& logits_TE, int64_t router,
                        int64_t auxiliary) {
    context->save_for_backward({logits_TE});
    context->saved_data["router"] = router;
    context->saved_data["auxiliary"] = auxiliary;
    return logits_TE.view_as(logits_TE);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const Tensor logits_TE = context->get_saved_variables()[0];
    const int64_t router = context->saved_data["router"].toInt();
    const int64_t address = context->saved_data["auxiliary"].toInt();
    // NOLINTNEXTLINE(performance-no-int-to-ptr): saved data can hold integers, not pointers
    const auto* auxiliary = reinterpret_cast<const AuxiliaryGradient*>(address);
    const Tensor p_TE = at::softmax(logits_TE, 1);
    Tensor gradient = gradients[0];
    if (auxiliary->balance_coef != 0.0) {
      MOLORA_CHECK(auxiliary->share_RE.defined(), "the shares of the step are not set");
      const auto num_experts = static_cast<double>(logits_TE.size(1));
      const Tensor g_E =
          auxiliary->share_RE.select(0, router).to(logits_TE.scalar_type()) * num_experts;
      const Tensor mean_T1 = p_TE.mv(g_E).unsqueeze(1);
      gradient = gradient + p_TE * (g_E - mean_T1) * (auxiliary->scale * auxiliary->balance_coef);
    }
    if (auxiliary->z_coef != 0.0) {
      const Tensor lse_T1 = at::logsumexp(logits_TE, 1, /*keepdim=*/true);
      gradient = gradient + p_TE * lse_T1 * (2.0 * auxiliary->scale * auxiliary->z_coef);
    }
    return {gradient, Tensor(), Tensor()};
  }
};

void add_statistics(RouterStatistics& statistics, const LinearAdapter& adapter,
                    const Tensor& logits_TE, const Tensor& chosen_TK) {
  const int64_t router = adapter.router_index;
  add_router_statistics(
      {statistics.counts_RE.select(0, router), statistics.prob_sum_RE.select(0, router),
       statistics.z_sum_R.select(0, router)},
      logits_TE, chosen_TK);
  if (router == 0) statistics.num_tokens += logits_TE.size(0);
}

void add_weights(RouterStatistics& statistics, const LinearAdapter& adapter,
                 const Tensor& weights_TE) {
  statistics.weight_sum_RE.select(0, adapter.router_index)
      .add_(weights_TE.detach().to(at::kDouble).sum(0));
}

Tensor with_auxiliary_gradient(const Tensor& logits_TE, const LinearAdapter& adapter,
                               const RoutingContext& context) {
  const bool is_active = context.auxiliary != nullptr && context.auxiliary->is_active();
  if (!is_active || !logits_TE.requires_grad()) return logits_TE;
  return AuxiliaryGradientHook::apply(logits_TE, adapter.router_index,
                                      reinterpret_cast<int64_t>(context.auxiliary));
}

// The choice and its weights; a recorded choice is used again.
Routing choose(const Tensor& logits_TE, const LinearAdapter& adapter,
               const RoutingContext& context) {
  RECORD_FUNCTION("molora::route", {});
  const auto router = static_cast<size_t>(adapter.router_index);
  Routing routing;
  if (context.choices != nullptr && router < context.choices->chosen_TK.size()) {
    routing.chosen_TK = context.choices->chosen_TK[router];
  }
  if (!routing.chosen_TK.defined()) {
    routing.chosen_TK = choose_experts(logits_TE, adapter.spec.experts_per_token);
    if (context.choices != nullptr) {
      auto& recorded = context.choices->chosen_TK;
      if (recorded.size() <= router) recorded.resize(router + 1);
      recorded[router] = routing.chosen_TK;
    }
    if (context.statistics != nullptr) {
      add_statistics(*context.statistics, adapter, logits_TE, routing.chosen_TK);
    }
  }
  MOLORA_CHECK_EQ(routing.chosen_TK.size(0), logits_TE.size(0), "tokens of the recorded routing");
  routing.weights_TE = gate_weights(logits_TE, routing.chosen_TK, gate_of(adapter.spec));
  if (context.statistics != nullptr && context.statistics->weight_sum_RE.defined()) {
    add_weights(*context.statistics, adapter, routing.weights_TE);
  }
  return routing;
}

}  // namespace

RouterStatistics empty_router_statistics(const AdapterSet& adapters, at::Device device) {
  int64_t num_experts = 0;
  for (const LinearAdapter& linear : adapters.linears()) {
    if (!linear.spec.has_router()) continue;
    MOLORA_CHECK(num_experts == 0 || num_experts == linear.spec.num_experts);
    num_experts = linear.spec.num_experts;
  }
  const int64_t routers = adapters.num_routers();
  const auto options = at::TensorOptions().device(device);
  return {at::zeros({routers, num_experts}, options.dtype(at::kLong)),
          at::zeros({routers, num_experts}, options.dtype(at::kDouble)),
          at::zeros({routers}, options.dtype(at::kDouble)), 0};
}

AuxiliaryLosses auxiliary_losses(const RouterStatistics& statistics, const AdapterSet& adapters) {
  if (adapters.num_routers() == 0 || statistics.num_tokens == 0) return {};
  const auto tokens = static_cast<double>(statistics.num_tokens);
  const Tensor counts_RE = statistics.counts_RE.to(at::kDouble);
  const Tensor share_RE = counts_RE / counts_RE.sum(1, /*keepdim=*/true);
  const Tensor mean_prob_RE = statistics.prob_sum_RE / tokens;
  const auto num_experts = static_cast<double>(counts_RE.size(1));
  return {num_experts * (share_RE * mean_prob_RE).sum(1).mean().item<double>(),
          (statistics.z_sum_R / tokens).mean().item<double>()};
}

Tensor Routing::chosen_TE() const {
  return at::zeros_like(weights_TE, at::kBool).scatter_(1, chosen_TK, true);
}

Routing route(const Tensor& x_TD, const LinearAdapter& adapter, const RoutingContext& context) {
  MOLORA_CHECK(adapter.spec.has_router());
  const at::ScalarType precision = adapter.router_weight.scalar_type();
  return route_product(at::linear(x_TD.to(precision), adapter.router_weight), adapter, context);
}

Routing route_product(const Tensor& product_TE, const LinearAdapter& adapter,
                      const RoutingContext& context) {
  MOLORA_CHECK(adapter.spec.has_router());
  const Tensor logits_TE = product_TE + adapter.router_bias;
  return choose(with_auxiliary_gradient(logits_TE, adapter, context), adapter, context);
}

Routing route_partial_product(const Tensor& product_TE, const LinearAdapter& adapter,
                              const RoutingContext& context, Communicator& tp) {
  MOLORA_CHECK(adapter.spec.has_router());
  // The bias is whole on every rank and enters once.
  const bool adds_bias = tp.rank() == 0 || MOLORA_MUTANT(kRouterBiasOnEveryRank);
  const Tensor partial_TE = product_TE + adapter.router_bias * (adds_bias ? 1.0 : 0.0);
  const Tensor logits_TE =
      MOLORA_MUTANT(kRouterLogitsPartial) ? partial_TE : reduce_from(tp, partial_TE);
  // Between the two sums the gradient is whole on every rank: here the auxiliary part joins.
  const Tensor used_TE = with_auxiliary_gradient(logits_TE, adapter, context);
  return choose(MOLORA_MUTANT(kRouterGradientPartial) ? used_TE : copy_to(tp, used_TE), adapter,
                context);
}

}  // namespace molora
