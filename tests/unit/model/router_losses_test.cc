#include "model/router_losses.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "model/router.h"
#include "support/expect_throw.h"
#include "support/gradcheck.h"
#include "support/tiny_model.h"

namespace molora {
namespace {

using ::testing::ElementsAre;

constexpr int64_t kTokens = 5;

struct LossCase {
  std::string name;
  RouterConfig::Gate gate;
  RouterConfig::AcrossRouters rule;
};

// Three routers of five experts over five tokens of three samples, all losses on.
class Losses {
 public:
  explicit Losses(const LossCase& of)
      : rule_(of.rule), adapters_(architecture(), config(of), 1, at::kDouble) {
    ids_.samples_T = at::tensor({4, 9, 9, 2, 2}, at::kLong);
    for (const LinearAdapter& linear : adapters_.linears()) {
      if (!linear.spec.has_router()) continue;
      linear.router_bias.detach().zero_();
      routers_.push_back(&linear);
    }
  }

  std::vector<Tensor> logits() const {
    std::vector<Tensor> all;
    for (const LinearAdapter* router : routers_) {
      all.push_back(
          at::randn({kTokens, router->spec.router_rows()}, at::kDouble).set_requires_grad(true));
    }
    return all;
  }

  // Their value, with the gradient that the hook sends back.
  Tensor operator()(const std::vector<Tensor>& logits) {
    RoutingChoices choices;
    const double value = prepare(logits, choices);
    Tensor result = at::full({}, value, at::kDouble);
    for (size_t r = 0; r < routers_.size(); ++r) {
      const Routing routing = route_product(
          logits[r], *routers_[r], {.choices = &choices, .auxiliary = &auxiliary_, .ids = ids_});
      result = result + (routing.weights_TE * 0.0).sum();
    }
    return result;
  }

 private:
  static Architecture architecture() {
    nlohmann::json model = testing::tiny_config();
    model["num_hidden_layers"] = 1;
    return parse_architecture(model.dump(), "config.json", {});
  }
  static AdapterConfig config(const LossCase& of) {
    AdapterConfig adapter;
    adapter.set_num_experts(5);
    adapter.set_experts_per_token(2);
    adapter.mutable_router()->set_gate(of.gate);
    return adapter;
  }

  // The weighted sum of all losses; fills in what their gradients need.
  double prepare(const std::vector<Tensor>& logits, RoutingChoices& choices) {
    const at::NoGradGuard no_grad;
    RouterStatistics statistics = empty_router_statistics(adapters_);
    statistics.entropy_sum_R = at::zeros({3}, at::kDouble);
    statistics.sample_numbers_S = at::tensor({2, 4, 9}, at::kLong);
    statistics.importance_RSE = at::zeros({3, 3, 5}, at::kDouble);
    for (size_t r = 0; r < routers_.size(); ++r) {
      (void)route_product(logits[r], *routers_[r],
                          {.choices = &choices, .statistics = &statistics, .ids = ids_});
    }
    const AuxiliaryLosses losses = auxiliary_losses(statistics, adapters_, rule_);
    const LocalizedLoss localized =
        localized_loss(statistics.importance_RSE, at::tensor({1, 0, 0}, at::kLong).to(at::kBool),
                       0.2, adapters_, rule_);
    auxiliary_ = {
        .balance_coef = 0.7,
        .z_coef = 0.2,
        .entropy_coef = -0.4,
        .scale = 1.0 / static_cast<double>(kTokens * (rule_ == RouterConfig::sum ? 1 : 3)),
        .share_RE = expert_shares(statistics.counts_RE, kTokens, adapters_, rule_),
        .slope_RSE = 0.3 * localized.slope_RSE,
        .sample_numbers_S = statistics.sample_numbers_S};
    return 0.7 * losses.balance + 0.2 * losses.z - 0.4 * losses.entropy +
           0.3 * localized.value.item<double>();
  }

  RouterConfig::AcrossRouters rule_;
  AdapterSet adapters_;
  TokenIds ids_;
  std::vector<const LinearAdapter*> routers_;
  AuxiliaryGradient auxiliary_;
};

class RouterLosses : public ::testing::TestWithParam<LossCase> {};

TEST_P(RouterLosses, GradientsAreThoseOfTheirValues) {
  at::manual_seed(3);
  Losses losses(GetParam());
  testing::expect_gradients([&](const std::vector<Tensor>& logits) { return losses(logits); },
                            losses.logits());
}

INSTANTIATE_TEST_SUITE_P(
    Gates, RouterLosses,
    ::testing::Values(LossCase{"TopKMean", RouterConfig::topk_softmax, RouterConfig::mean},
                      LossCase{"TopKConcat", RouterConfig::topk_softmax, RouterConfig::concat},
                      LossCase{"ThresholdSum", RouterConfig::threshold, RouterConfig::sum},
                      LossCase{"TopPMean", RouterConfig::top_p, RouterConfig::mean},
                      LossCase{"DenseSum", RouterConfig::dense_softmax, RouterConfig::sum}),
    [](const auto& of) { return of.param.name; });

AdapterSet adapters_by_layer() {
  AdapterConfig config;
  config.set_experts_per_token(1);
  for (const uint32_t experts : {2u, 4u}) config.add_num_experts_by_layer(experts);
  return {parse_architecture(testing::tiny_config().dump(), "config.json", {}), config, 1,
          at::kDouble};
}

// Three routers of 2 experts, three of 4; all tokens to expert 0, with all of the probability: E_r
// for each router.
TEST(RouterLossesByLayer, EachRouterCountsItsOwnExperts) {
  const AdapterSet adapters = adapters_by_layer();
  RouterStatistics statistics = empty_router_statistics(adapters);
  statistics.num_tokens = 8;
  statistics.counts_RE.select(1, 0).fill_(8);
  statistics.prob_sum_RE.select(1, 0).fill_(8.0);
  EXPECT_NEAR(auxiliary_losses(statistics, adapters).balance, 3.0, 1e-12);
  EXPECT_NEAR(auxiliary_losses(statistics, adapters, RouterConfig::sum).balance, 18.0, 1e-12);
}

// One router: 0.75 and 0.25 of one sample of a task of the first half, delta 0.2: I = 0.9 and 0.2,
// mean 0.55, variance 0.245. Padded experts of the others take no part.
TEST(RouterLossesByLayer, LocalizedBalanceLeavesOutExpertsThatAreNotThere) {
  const AdapterSet adapters = adapters_by_layer();
  Tensor importance = at::zeros({6, 1, 4}, at::kDouble);
  importance.slice(0, 0, 3).copy_(at::tensor({0.75, 0.25, 0.0, 0.0}, at::kDouble).view({1, 1, 4}));
  // The four experts: 1.2, 1.2, 0.8, 0.8 of equal shares over these: no variation.
  importance.slice(0, 3).copy_(
      at::tensor({1 / 1.2, 1 / 1.2, 1 / 0.8, 1 / 0.8}, at::kDouble).view({1, 1, 4}));
  const LocalizedLoss loss =
      localized_loss(importance, at::ones({1}, at::kBool), 0.2, adapters, RouterConfig::sum);
  EXPECT_NEAR(loss.value.item<double>(), 3.0 * 0.245 / (0.55 * 0.55), 1e-12);
  EXPECT_EQ(loss.slope_RSE.slice(0, 0, 3).slice(2, 2).abs().max().item<double>(), 0.0);
}

TEST(LocalizedTasks, AreFoundByName) {
  LocalizedBalanceConfig config;
  config.add_tasks("qa");
  EXPECT_THAT(tasks_of_first_half(config, {"dialogue", "qa"}), ElementsAre(false, true));
  config.add_tasks("exam");
  EXPECT_THROW_WITH((void)tasks_of_first_half(config, {"dialogue", "qa"}), ConfigError,
                    "no sample of the training data is of task 'exam'; the tasks of the data are "
                    "'dialogue', 'qa'");
}

}  // namespace
}  // namespace molora
