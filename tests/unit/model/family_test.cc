// Members of the MoLoRA family: what their definitions (tests/golden/family_golden.py) do not say.
#include <gtest/gtest.h>

#include "model/dora.h"
#include "model/molora_linear.h"
#include "support/expect_throw.h"
#include "support/random_adapters.h"
#include "support/tiny_model.h"

namespace molora {
namespace {

Architecture tiny() { return parse_architecture(testing::tiny_config().dump(), "config.json", {}); }

AdapterConfig four_experts() {
  AdapterConfig config;
  config.set_num_experts(4);
  config.set_experts_per_token(2);
  config.set_lora_rank(3);
  return config;
}

// The router of one linear with its logits set: they are the same for every token.
class OneRouter {
 public:
  explicit OneRouter(const AdapterConfig& config, const std::vector<double>& logits)
      : adapters_(tiny(), config, 3, at::kDouble), adapter_(*adapters_.find(0, LinearKind::kUp)) {
    const at::NoGradGuard no_grad;
    adapter_.router_weight.detach().zero_();
    adapter_.router_bias.detach().copy_(at::tensor(logits, at::kDouble));
  }

  // Of tokens 0, 1, .. of a sample.
  Tensor choose(int64_t tokens, const DrawContext& draw = {}, bool reversed = false) const {
    const at::NoGradGuard no_grad;
    RoutingChoices choices;
    const Tensor positions = at::arange(tokens, at::kLong);
    const RoutingContext context{
        .choices = &choices,
        .ids = {at::zeros({tokens}, at::kLong), reversed ? positions.flip(0) : positions, {}},
        .draw = draw};
    (void)route(at::ones({tokens, 16}, at::kDouble), adapter_, context);
    return choices.chosen_TK[static_cast<size_t>(adapter_.router_index)];
  }

  const LinearAdapter& adapter() const { return adapter_; }

 private:
  AdapterSet adapters_;
  const LinearAdapter& adapter_;
};

AdapterConfig drawn(RouterConfig::Selection selection) {
  AdapterConfig config = four_experts();
  config.mutable_router()->set_selection(selection);
  return config;
}

// The probability that e is drawn first is its softmax; that f follows, its softmax without e.
TEST(DrawnExperts, FollowTheSoftmaxWithoutReplacement) {
  const std::vector<double> logits = {0.0, 1.0, -1.0, 0.5};
  const OneRouter router(drawn(RouterConfig::sampled), logits);
  constexpr int64_t kTokens = 40000;
  const Tensor chosen = router.choose(kTokens, {.is_training = false, .seed = 7, .step = 3});
  const Tensor p = at::softmax(at::tensor(logits, at::kDouble), 0);
  for (int64_t e = 0; e < 4; ++e) {
    for (int64_t f = 0; f < 4; ++f) {
      const Tensor is_pair = (chosen.select(1, 0) == e).logical_and(chosen.select(1, 1) == f);
      const auto share = is_pair.sum().item<double>() / kTokens;
      const double expected =
          e == f ? 0.0 : p[e].item<double>() * p[f].item<double>() / (1.0 - p[e].item<double>());
      EXPECT_NEAR(share, expected, 4.0 * std::sqrt(expected / kTokens) + 1e-12) << e << " " << f;
    }
  }
}

TEST(DrawnExperts, DependOnTokenAndStepAndNotOnTheRow) {
  const OneRouter router(drawn(RouterConfig::sampled), {0.0, 0.0, 0.0, 0.0});
  const DrawContext draw{.is_training = true, .seed = 7, .step = 3};
  const Tensor chosen = router.choose(60, draw);
  EXPECT_TRUE(router.choose(60, draw, /*reversed=*/true).equal(chosen.flip(0)));
  EXPECT_FALSE(router.choose(60, {.is_training = true, .seed = 7, .step = 4}).equal(chosen));
  EXPECT_FALSE(router.choose(60, {.is_training = true, .seed = 8, .step = 3}).equal(chosen));
}

TEST(DrawnExperts, OnlyInTrainingWhereAskedFor) {
  const OneRouter router(drawn(RouterConfig::sampled_in_training), {3.0, 2.0, 1.0, 0.0});
  const Tensor highest = at::tensor({0, 1}, at::kLong).expand({50, 2});
  EXPECT_TRUE(router.choose(50, {.is_training = false, .seed = 1, .step = 1}).equal(highest));
  EXPECT_FALSE(router.choose(50, {.is_training = true, .seed = 1, .step = 1}).equal(highest));
}

// Weights stay those of the logits.
TEST(ChoiceBias, MovesTheChoiceAlone) {
  AdapterConfig config = four_experts();
  config.mutable_router()->set_bias_update_rate(0.1);
  const OneRouter router(config, {3.0, 2.0, 1.0, 0.0});
  const at::NoGradGuard no_grad;
  router.adapter().choice_bias.detach()[3] = 10.0;
  const Routing routing = route(at::ones({1, 16}, at::kDouble), router.adapter(), {});
  EXPECT_TRUE(routing.chosen_TK.equal(at::tensor({3, 0}, at::kLong).view({1, 2})));
  const Tensor expected = at::softmax(at::tensor({0.0, 3.0}, at::kDouble), 0);
  EXPECT_NEAR(routing.weights_TE[0][3].item<double>(), expected[0].item<double>(), 1e-12);
  EXPECT_NEAR(routing.weights_TE[0][0].item<double>(), expected[1].item<double>(), 1e-12);
}

// A token that chooses nobody leaves the base, and no gradient that is not a number.
TEST(OpenChoice, NoExpertAtAllIsTheBase) {
  AdapterConfig config = four_experts();
  RouterConfig& gate = *config.mutable_router();
  gate.set_gate(RouterConfig::threshold);
  gate.set_threshold_max(0.9);
  const OneRouter router(config, {0.0, 0.0, 0.0, 0.0, 5.0});  // p 0.25, threshold 0.89
  EXPECT_TRUE((router.choose(3) == kNoChoice).all().item<bool>());
  const FrozenLinear base{at::randn({24, 16}, at::kDouble), at::randn({24}, at::kDouble)};
  const TokenBatch batch = make_token_batch({{1, 1, 1}}, {0});
  const Tensor x = at::randn({3, 16}, at::kDouble);
  const Tensor out = adapted_linear(x, base, &router.adapter(), {.batch = batch});
  EXPECT_TRUE(out.equal(at::linear(x, base.weight_OD, base.bias_O)));
  out.sum().backward();
  EXPECT_EQ(router.adapter().router_weight.grad().abs().max().item<double>(), 0.0);
}

TEST(OpenChoice, StatisticsCountWhatWasChosen) {
  AdapterConfig config = four_experts();
  config.mutable_router()->set_gate(RouterConfig::top_p);
  config.mutable_router()->set_top_p_mass(0.5);
  AdapterSet adapters(tiny(), config, 3, at::kDouble);
  const LinearAdapter& adapter = *adapters.find(0, LinearKind::kGate);
  const at::NoGradGuard no_grad;
  adapter.router_weight.detach().zero_();
  adapter.router_bias.detach().copy_(at::tensor({1.0, 0.9, -9.0, -9.0}, at::kDouble));
  RouterStatistics statistics = empty_router_statistics(adapters);
  const Routing routing =
      route(at::ones({5, 16}, at::kDouble), adapter, {.statistics = &statistics});
  EXPECT_TRUE(statistics.counts_RE[0].equal(at::tensor({5, 0, 0, 0}, at::kLong)));  // 0.52 alone
  EXPECT_NEAR(statistics.prob_sum_RE[0].sum().item<double>(), 5.0, 1e-9);
  EXPECT_NEAR(routing.weights_TE[0].sum().item<double>(), 0.5249, 1e-3);  // not renormalised
}

TEST(Dora, NormsAreThoseOfTheMergedWeight) {
  AdapterConfig config;
  config.mutable_targets()->set_gate_proj(TargetsConfig::lora);
  config.set_dora(true);
  AdapterSet adapters(tiny(), config, 3, at::kDouble);
  testing::randomize(adapters, 9);
  const LinearAdapter& adapter = *adapters.find(0, LinearKind::kGate);
  const FrozenLinear base{at::randn({24, 16}, at::kDouble), {}};
  const at::NoGradGuard no_grad;
  const Tensor merged =
      base.weight_OD + at::mm(adapter.lora_B[0].t(), adapter.lora_A[0]) * adapter.spec.scale;
  EXPECT_TRUE(at::allclose(dora_norms(base, adapter, nullptr),
                           at::linalg_vector_norm(merged, 2, {1}), 1e-12, 1e-12));
}

// Each member's tensors are as many as --dry-run says.
TEST(Family, CountsAreThoseOfTheTensors) {
  std::vector<AdapterConfig> members(7, four_experts());
  members[0].set_shared_experts(2);
  members[1].set_shared_a(true);
  for (const uint32_t experts : {2u, 6u}) members[2].add_num_experts_by_layer(experts);
  for (const uint32_t rank : {5u, 1u}) members[2].add_lora_rank_by_layer(rank);
  members[3].mutable_router()->set_gate(RouterConfig::threshold);
  members[4].set_dora(true);
  members[5].mutable_router()->set_heads(4);
  members[6].mutable_router()->set_input(RouterConfig::task);
  for (const char* task : {"a", "b", "c"}) members[6].mutable_router()->add_tasks(task);
  for (size_t i = 0; i < members.size(); ++i) {
    const AdapterSet adapters(tiny(), members[i], 3, at::kDouble);
    int64_t elements = 0;
    for (const Parameter& parameter : adapters.parameters()) elements += parameter.value.numel();
    EXPECT_EQ(count_adapter_parameters(tiny(), members[i]).total(), elements) << i;
  }
}

TEST(Family, TasksAreKnownByNameOrRefused) {
  AdapterConfig config = four_experts();
  const AdapterSet without(tiny(), config, 3, at::kDouble);
  EXPECT_EQ(without.task_number("anything"), kNoTask);
  config.mutable_router()->set_input(RouterConfig::task);
  for (const char* task : {"exam", "chat"}) config.mutable_router()->add_tasks(task);
  const AdapterSet with(tiny(), config, 3, at::kDouble);
  EXPECT_EQ(with.task_number("chat"), 1);
  EXPECT_THROW_WITH(with.task_number("other"), ConfigError,
                    "task 'other' is not among its own; it knows exam, chat");
  EXPECT_THROW_WITH(with.task_number(""), ConfigError, "no task is named");
}

}  // namespace
}  // namespace molora
