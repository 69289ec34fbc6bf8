#include "model/router.h"

#include <algorithm>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>

#include "base/check.h"
#include "base/mutation.h"
#include "base/philox.h"
#include "device/compute_device.h"
#include "kernels/routing.h"
#include "model/router_losses.h"
#include "parallel/regions.h"
#include "tensor/philox_tensor.h"

namespace molora {

namespace {

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

// The logits of one pass in their parts: of the experts, and of the threshold behind them.
struct Logits {
  Tensor experts_TE;
  Tensor threshold_T1;  // t, of the gate threshold
};

Logits parts_of(const Tensor& logits_TZ, const AdapterSpec& spec) {
  if (spec.gate != RouterConfig::threshold) return {logits_TZ, {}};
  const int64_t experts = spec.num_routed();
  return {logits_TZ.slice(1, 0, experts),
          at::sigmoid(logits_TZ.slice(1, experts)) * spec.threshold_max};
}

// The experts of the fewest of the highest shares whose sum exceeds top_p.
Tensor within_top_p(const Tensor& p_TE, double mass) {
  const auto [sorted_TE, order_TE] =
      at::sort(p_TE, /*stable=*/true, /*dim=*/1, /*descending=*/true);
  const Tensor before_TE = at::cumsum(sorted_TE, 1) - sorted_TE;  // sum of the higher ones
  return at::zeros_like(p_TE, at::kBool).scatter_(1, order_TE, before_TE <= mass);
}

// Of gates without a fixed k: [tokens, experts] bool.
Tensor open_choice(const Logits& logits, const AdapterSpec& spec) {
  const at::NoGradGuard no_grad;
  const Tensor p_TE = at::softmax(logits.experts_TE, 1);
  return spec.gate == RouterConfig::threshold ? p_TE >= logits.threshold_T1
                                              : within_top_p(p_TE, spec.top_p_mass);
}

Tensor open_weights(const Logits& logits, const Tensor& is_chosen_TE, const AdapterSpec& spec) {
  const Tensor p_TE = at::softmax(logits.experts_TE, 1);
  if (spec.gate == RouterConfig::top_p) return p_TE * is_chosen_TE;
  const Tensor above_TE = (p_TE - logits.threshold_T1) * is_chosen_TE;
  const Tensor sum_T1 = above_TE.sum(1, /*keepdim=*/true);
  return above_TE / at::where(sum_T1 == 0, at::ones_like(sum_T1), sum_T1);
}

// Numbers of experts that were chosen, kNoChoice for the others.
Tensor numbers_of(const Tensor& is_chosen_TE) {
  const Tensor experts_E =
      at::arange(is_chosen_TE.size(1), is_chosen_TE.options().dtype(at::kLong));
  return at::where(is_chosen_TE, experts_E, kNoChoice);
}

Tensor is_chosen(const Tensor& chosen_TK, int64_t num_experts) {
  // kNoChoice goes to a place behind the last, which is cut off.
  const Tensor place_TK = at::where(chosen_TK < 0, num_experts, chosen_TK);
  return at::zeros({chosen_TK.size(0), num_experts + 1}, chosen_TK.options().dtype(at::kBool))
      .scatter_(1, place_TK, true)
      .slice(1, 0, num_experts);
}

bool is_drawn(const AdapterSpec& spec, const RoutingContext& context) {
  return spec.selection == RouterConfig::sampled ||
         (spec.selection == RouterConfig::sampled_in_training && context.draw.is_training);
}

// What the k highest of are chosen.
Tensor scores_of(const Tensor& logits_TE, const LinearAdapter& adapter,
                 const RoutingContext& context) {
  Tensor scores_TE = logits_TE.detach();
  if (adapter.choice_bias.defined()) scores_TE = scores_TE + adapter.choice_bias.detach();
  if (!is_drawn(adapter.spec, context)) return scores_TE;
  MOLORA_CHECK(context.ids.samples_T.defined(), "drawing experts needs to know the tokens");
  const uint64_t key =
      philox_key(context.draw.seed, RandomPurpose::kExpertDraw, adapter.path, context.draw.step);
  const Tensor samples = to_host(context.ids.samples_T);
  const Tensor positions = MOLORA_MUTANT(kDrawOfRow)
                               ? at::arange(samples.size(0), samples.options())
                               : to_host(context.ids.positions_T);
  return scores_TE +
         gumbel_of_tokens(samples, positions, logits_TE.size(1), key, logits_TE.scalar_type())
             .to(logits_TE.device());
}

Tensor new_choice(const Logits& logits, const LinearAdapter& adapter,
                  const RoutingContext& context) {
  const AdapterSpec& spec = adapter.spec;
  if (spec.has_open_choice()) return numbers_of(open_choice(logits, spec));
  return choose_experts(scores_of(logits.experts_TE, adapter, context), spec.routed_per_token());
}

Tensor weights_of(const Logits& logits, const Tensor& chosen_TK, const AdapterSpec& spec) {
  if (!spec.has_open_choice()) return gate_weights(logits.experts_TE, chosen_TK, gate_of(spec));
  return open_weights(logits, is_chosen(chosen_TK, spec.num_routed()), spec);
}

void add_open_statistics(const StatisticsOfRouter& sums, const Logits& logits,
                         const Tensor& chosen_TK) {
  const at::NoGradGuard no_grad;
  const Tensor logits_TE = logits.experts_TE.detach().to(at::kDouble);
  Tensor p_TE = at::softmax(logits_TE, 1);
  if (logits.threshold_T1.defined()) p_TE = p_TE - logits.threshold_T1;
  Tensor(sums.counts_E).add_(is_chosen(chosen_TK, logits_TE.size(1)).sum(0));
  Tensor(sums.prob_sum_E).add_(p_TE.sum(0));
  Tensor(sums.z_sum).add_(at::logsumexp(logits_TE, 1).square().sum());
}

void add_statistics(RouterStatistics& statistics, const LinearAdapter& adapter,
                    const Logits& logits, const Tensor& chosen_TK) {
  const int64_t router = adapter.router_index;
  const int64_t experts = adapter.spec.num_routed();
  const StatisticsOfRouter sums = {statistics.counts_RE.select(0, router).slice(0, 0, experts),
                                   statistics.prob_sum_RE.select(0, router).slice(0, 0, experts),
                                   statistics.z_sum_R.select(0, router)};
  if (adapter.spec.has_open_choice()) {
    add_open_statistics(sums, logits, chosen_TK);
  } else {
    add_router_statistics(sums, logits.experts_TE, chosen_TK);
  }
  if (router == 0) statistics.num_tokens += chosen_TK.size(0);
}

// What not every caller asks for.
void add_asked_statistics(RouterStatistics& statistics, const LinearAdapter& adapter,
                          const Tensor& logits_TE, const Routing& routing, const TokenIds& ids) {
  const bool by_sample = statistics.sample_numbers_S.defined();
  if (!statistics.entropy_sum_R.defined() && !by_sample) return;
  const at::NoGradGuard no_grad;
  const int64_t router = adapter.router_index;
  const int64_t experts = logits_TE.size(1);
  const Tensor log_p_TE = at::log_softmax(logits_TE.detach().to(at::kDouble), 1);
  const Tensor p_TE = log_p_TE.exp();
  if (statistics.entropy_sum_R.defined()) {
    statistics.entropy_sum_R.select(0, router).sub_((p_TE * log_p_TE).sum());
  }
  if (!by_sample) return;
  const Tensor sample_T = at::searchsorted(statistics.sample_numbers_S, ids.samples_T.contiguous());
  if (statistics.importance_RSE.defined()) {
    statistics.importance_RSE.select(0, router).slice(1, 0, experts).index_add_(0, sample_T, p_TE);
  }
  if (!statistics.group_load_NE.defined()) return;
  const Tensor load_TE = adapter.spec.gate == RouterConfig::dense_softmax
                             ? p_TE
                             : is_chosen(routing.chosen_TK, experts).to(at::kDouble);
  statistics.group_load_NE.slice(1, 0, experts)
      .index_add_(0, statistics.groups_S.index_select(0, sample_T), load_TE);
}

void add_weights(RouterStatistics& statistics, const LinearAdapter& adapter,
                 const Tensor& weights_TE) {
  statistics.weight_sum_RE.select(0, adapter.router_index)
      .slice(0, 0, adapter.spec.num_routed())
      .add_(weights_TE.detach().to(at::kDouble).sum(0));
}

// Behind the routed experts the shared ones: always chosen, with weight 1.
Routing with_shared(Routing routing, const AdapterSpec& spec) {
  if (spec.num_shared == 0) return routing;
  const int64_t tokens = routing.chosen_TK.size(0);
  const Tensor shared_S =
      at::arange(spec.num_routed(), spec.num_experts, routing.chosen_TK.options());
  return {at::cat({routing.weights_TE,
                   at::ones({tokens, spec.num_shared}, routing.weights_TE.options())},
                  1),
          at::cat({routing.chosen_TK, shared_S.expand({tokens, -1})}, 1)};
}

Tensor with_losses(const Tensor& logits_TZ, const LinearAdapter& adapter,
                   const RoutingContext& context) {
  if (context.auxiliary == nullptr) return logits_TZ;
  return with_auxiliary_gradient(logits_TZ, context.ids.samples_T, adapter, *context.auxiliary);
}

// The choice and its weights; a recorded choice is used again.
Routing choose(const Tensor& logits_TZ, const LinearAdapter& adapter,
               const RoutingContext& context) {
  RECORD_FUNCTION("molora::route", {});
  const auto router = static_cast<size_t>(adapter.router_index);
  const Logits logits = parts_of(logits_TZ, adapter.spec);
  Routing routing;
  if (context.choices != nullptr && router < context.choices->chosen_TK.size()) {
    routing.chosen_TK = context.choices->chosen_TK[router];
  }
  if (!routing.chosen_TK.defined()) {
    routing.chosen_TK = new_choice(logits, adapter, context);
    if (context.choices != nullptr) {
      auto& recorded = context.choices->chosen_TK;
      if (recorded.size() <= router) recorded.resize(router + 1);
      recorded[router] = routing.chosen_TK;
    }
    if (context.statistics != nullptr) {
      add_statistics(*context.statistics, adapter, logits, routing.chosen_TK);
      add_asked_statistics(*context.statistics, adapter, logits.experts_TE, routing, context.ids);
    }
  }
  MOLORA_CHECK_EQ(routing.chosen_TK.size(0), logits_TZ.size(0), "tokens of the recorded routing");
  routing.weights_TE = weights_of(logits, routing.chosen_TK, adapter.spec);
  if (context.statistics != nullptr && context.statistics->weight_sum_RE.defined()) {
    add_weights(*context.statistics, adapter, routing.weights_TE);
  }
  return with_shared(std::move(routing), adapter.spec);
}

}  // namespace

RouterStatistics empty_router_statistics(const AdapterSet& adapters, at::Device device) {
  int64_t num_experts = 0;
  for (const LinearAdapter& linear : adapters.linears()) {
    if (linear.spec.has_router()) num_experts = std::max(num_experts, linear.spec.num_routed());
  }
  const int64_t routers = adapters.num_routers();
  const auto options = at::TensorOptions().device(device);
  return {at::zeros({routers, num_experts}, options.dtype(at::kLong)),
          at::zeros({routers, num_experts}, options.dtype(at::kDouble)),
          at::zeros({routers}, options.dtype(at::kDouble)), 0};
}

Tensor Routing::chosen_TE() const { return is_chosen(chosen_TK, weights_TE.size(1)); }

namespace {

// z = W_s e of the embedding e of each token's task.
Tensor task_logits(const LinearAdapter& adapter, const RoutingContext& context) {
  MOLORA_CHECK(context.ids.tasks_T.defined(), "{}: routing by task needs to know the tokens' tasks",
               adapter.path);
  return at::linear(adapter.task_embedding.index_select(0, context.ids.tasks_T),
                    adapter.task_weight);
}

}  // namespace

Routing route(const Tensor& x_TD, const LinearAdapter& adapter, const RoutingContext& context) {
  MOLORA_CHECK(adapter.spec.has_router());
  if (adapter.spec.routes_by_task) return route_product({}, adapter, context);
  const at::ScalarType precision = adapter.router_weight.scalar_type();
  return route_product(at::linear(x_TD.to(precision), adapter.router_weight), adapter, context);
}

Routing route_product(const Tensor& product_TZ, const LinearAdapter& adapter,
                      const RoutingContext& context) {
  MOLORA_CHECK(adapter.spec.has_router());
  const Tensor logits_TZ = adapter.spec.routes_by_task ? task_logits(adapter, context)
                                                       : product_TZ + adapter.router_bias;
  return choose(with_losses(logits_TZ, adapter, context), adapter, context);
}

Routing route_partial_product(const Tensor& product_TZ, const LinearAdapter& adapter,
                              const RoutingContext& context, Communicator& tp) {
  MOLORA_CHECK(adapter.spec.has_router());
  // The bias is whole on every rank and enters once.
  const bool adds_bias = tp.rank() == 0 || MOLORA_MUTANT(kRouterBiasOnEveryRank);
  const Tensor partial_TZ = product_TZ + adapter.router_bias * (adds_bias ? 1.0 : 0.0);
  const Tensor logits_TZ =
      MOLORA_MUTANT(kRouterLogitsPartial) ? partial_TZ : reduce_from(tp, partial_TZ);
  // Between the two sums the gradient is whole on every rank: here the auxiliary part joins.
  const Tensor used_TZ = with_losses(logits_TZ, adapter, context);
  return choose(MOLORA_MUTANT(kRouterGradientPartial) ? used_TZ : copy_to(tp, used_TZ), adapter,
                context);
}

}  // namespace molora
