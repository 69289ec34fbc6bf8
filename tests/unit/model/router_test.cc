#include "model/router.h"

#include <gtest/gtest.h>

#include "model/router_losses.h"
#include "support/gradcheck.h"
#include "support/random_adapters.h"
#include "support/tiny_model.h"

namespace molora {
namespace {

AdapterSet adapters_of(uint32_t num_experts, uint32_t k) {
  AdapterConfig config;
  config.set_num_experts(num_experts);
  config.set_experts_per_token(k);
  AdapterSet adapters(parse_architecture(testing::tiny_config().dump(), "config.json", {}), config,
                      1, at::kDouble);
  testing::randomize(adapters, 4);
  return adapters;
}

TEST(Router, WeightsOfATokenSumToOneAndKAreNotZero) {
  const at::NoGradGuard no_grad;
  const AdapterSet adapters = adapters_of(8, 3);
  const Tensor weights =
      route(at::randn({50, 16}, at::kDouble), *adapters.find(0, LinearKind::kUp), {}).weights_TE;
  EXPECT_TRUE(at::allclose(weights.sum(1), at::ones(50, at::kDouble)));
  EXPECT_TRUE((weights != 0).sum(1).equal(at::full(50, 3, at::kLong)));
}

TEST(Router, TiesGoToTheLowestIndex) {
  const at::NoGradGuard no_grad;
  const AdapterSet adapters = adapters_of(6, 2);
  const LinearAdapter& adapter = *adapters.find(0, LinearKind::kUp);
  adapter.router_weight.detach().zero_();
  adapter.router_bias.detach().zero_();
  RoutingChoices choices;
  (void)route(at::randn({40, 16}, at::kDouble), adapter, {.choices = &choices});
  const Tensor chosen = choices.chosen_TK[static_cast<size_t>(adapter.router_index)];
  EXPECT_TRUE(chosen.equal(at::tensor({0, 1}, at::kLong).expand({40, 2})));
}

TEST(Router, RecordedChoicesAreUsedAgain) {
  const at::NoGradGuard no_grad;
  const AdapterSet adapters = adapters_of(6, 2);
  const LinearAdapter& adapter = *adapters.find(0, LinearKind::kGate);
  RoutingChoices choices;
  choices.chosen_TK = {at::tensor({5, 4}, at::kLong).expand({3, 2}).contiguous()};
  const Tensor weights =
      route(at::randn({3, 16}, at::kDouble), adapter, {.choices = &choices}).weights_TE;
  EXPECT_TRUE((weights.slice(1, 4) > 0).all().item<bool>());
  EXPECT_EQ(weights.slice(1, 0, 4).abs().max().item<double>(), 0.0);
}

TEST(Router, StatisticsCountEachForwardPassOnce) {
  const at::NoGradGuard no_grad;
  const AdapterSet adapters = adapters_of(4, 2);
  RouterStatistics statistics = empty_router_statistics(adapters);
  RoutingChoices choices;
  const RoutingContext context{.choices = &choices, .statistics = &statistics};
  const Tensor x = at::randn({9, 16}, at::kDouble);
  const LinearAdapter& adapter = *adapters.find(0, LinearKind::kGate);
  (void)route(x, adapter, context);
  (void)route(x, adapter, context);  // as a recomputation does
  EXPECT_EQ(statistics.num_tokens, 9);
  EXPECT_EQ(statistics.counts_RE[0].sum().item<int64_t>(), 18);
  EXPECT_NEAR(statistics.prob_sum_RE[0].sum().item<double>(), 9.0, 1e-9);
}

// With uniform choices and probabilities the balance loss is 1; with all tokens on one expert that
// has all the probability it is E / k for k choices... k = 1: E.
TEST(AuxiliaryLosses, BalanceIsOneWhenBalancedAndLargeWhenCollapsed) {
  const AdapterSet adapters = adapters_of(4, 2);
  RouterStatistics statistics = empty_router_statistics(adapters);
  statistics.num_tokens = 8;
  statistics.counts_RE.fill_(4);
  statistics.prob_sum_RE.fill_(2.0);
  EXPECT_NEAR(auxiliary_losses(statistics, adapters).balance, 1.0, 1e-12);
  statistics.counts_RE.zero_();
  statistics.counts_RE.select(1, 0).fill_(8);
  statistics.prob_sum_RE.zero_();
  statistics.prob_sum_RE.select(1, 0).fill_(8.0);
  EXPECT_NEAR(auxiliary_losses(statistics, adapters).balance, 4.0, 1e-12);
}

TEST(AuxiliaryLosses, NoTokensGiveZero) {
  const AdapterSet adapters = adapters_of(4, 2);
  EXPECT_EQ(auxiliary_losses(empty_router_statistics(adapters), adapters).balance, 0.0);
}

// The closed form that the hook sends back is the gradient of the losses with the shares held
// fixed.
TEST(AuxiliaryGradient, EqualsTheGradientOfTheLosses) {
  const AdapterSet adapters = adapters_of(5, 2);
  const LinearAdapter& adapter = *adapters.find(0, LinearKind::kGate);
  const Tensor x = at::randn({11, 16}, at::kDouble);
  RoutingChoices choices;
  RouterStatistics statistics = empty_router_statistics(adapters);
  {
    const at::NoGradGuard no_grad;
    (void)route(x, adapter, {.choices = &choices, .statistics = &statistics});
  }
  AuxiliaryGradient auxiliary{.balance_coef = 0.7, .z_coef = 0.2, .scale = 3.0, .share_RE = {}};
  const Tensor counts = statistics.counts_RE.to(at::kDouble);
  auxiliary.share_RE = counts / counts.sum(1, true);

  const auto losses = [&] {
    const Tensor z = at::linear(x, adapter.router_weight, adapter.router_bias);
    const Tensor balance = 5.0 * (at::softmax(z, 1) * auxiliary.share_RE[0]).sum();
    const Tensor z_loss = at::logsumexp(z, 1).square().sum();
    return 3.0 * (0.7 * balance + 0.2 * z_loss);
  };
  losses().backward();
  const Tensor expected = adapter.router_weight.grad().clone();
  adapter.router_weight.mutable_grad().reset();
  // A zero weight on the output leaves the hook's gradient alone.
  (route(x, adapter, {.choices = &choices, .auxiliary = &auxiliary}).weights_TE * 0.0)
      .sum()
      .backward();
  EXPECT_TRUE(at::allclose(adapter.router_weight.grad(), expected, 1e-10, 1e-12));
}

}  // namespace
}  // namespace molora
