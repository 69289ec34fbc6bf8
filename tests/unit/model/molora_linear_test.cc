// The adapted linear against its definition, one token and one expert at a time, and the facts that
// MING-MOE's mathematics implies.
#include "model/molora_linear.h"

#include <gtest/gtest.h>

#include "support/gradcheck.h"
#include "support/random_adapters.h"
#include "support/tiny_model.h"

namespace molora {
namespace {

constexpr int64_t kTokens = 7;

// The adapters of one layer in fp64, and a batch of kTokens tokens.
class OneLinear {
 public:
  explicit OneLinear(const AdapterConfig& config)
      : adapters_(parse_architecture(testing::tiny_config().dump(), "config.json", {}), config, 3,
                  at::kDouble),
        adapter_(*adapters_.find(0, LinearKind::kGate)) {
    testing::randomize(adapters_, 9);
    at::manual_seed(5);
    base_ = {at::randn({24, 16}, at::kDouble), at::randn({24}, at::kDouble)};
    x_ = at::randn({kTokens, 16}, at::kDouble);
    batch_ = make_token_batch({std::vector<int32_t>(kTokens, 1)}, {0});
  }

  Tensor forward(const Tensor& x, ForwardMode mode = ForwardMode::kEval) {
    choices_ = {};
    context_.mode = mode;
    context_.routing.choices = &choices_;
    return adapted_linear(x, base_, &adapter_, context_);
  }

  // W x + b + s sum over chosen e of w_e B_e A_e x, with w by the rule of the gate.
  Tensor by_definition() {
    const AdapterSpec& spec = adapter_.spec;
    Tensor out = at::linear(x_, base_.weight_OD, base_.bias_O);
    for (int64_t t = 0; t < kTokens; ++t) {
      const Tensor z = adapter_.router_weight.mv(x_[t]) + adapter_.router_bias;
      const auto [values, chosen] = z.topk(spec.experts_per_token);
      const Tensor p = at::softmax(z, 0);
      const Tensor weights = spec.gate == RouterConfig::topk_softmax ? at::softmax(values, 0)
                                                                     : p.index_select(0, chosen);
      for (int64_t i = 0; i < spec.experts_per_token; ++i) {
        const int64_t e = chosen[i].item<int64_t>();
        out[t] += spec.scale * weights[i] * adapter_.lora_B[e].t().mv(adapter_.lora_A[e].mv(x_[t]));
      }
    }
    return out;
  }

  AdapterSet& adapters() { return adapters_; }
  const LinearAdapter& adapter() const { return adapter_; }
  const FrozenLinear& base() const { return base_; }
  const RoutingChoices& choices() const { return choices_; }
  ForwardContext& context() { return context_; }
  const Tensor& x() const { return x_; }

 private:
  AdapterSet adapters_;
  const LinearAdapter& adapter_;
  FrozenLinear base_;
  Tensor x_;
  TokenBatch batch_;
  RoutingChoices choices_;
  ForwardContext context_{.batch = batch_};
};

AdapterConfig experts(uint32_t num_experts, uint32_t k, RouterConfig::Gate gate) {
  AdapterConfig config;
  config.set_num_experts(num_experts);
  config.set_experts_per_token(k);
  config.set_lora_rank(3);
  config.mutable_router()->set_gate(gate);
  return config;
}

struct Case {
  uint32_t num_experts;
  uint32_t k;
  RouterConfig::Gate gate;
};

class MoloraLinear : public ::testing::TestWithParam<Case> {
 protected:
  OneLinear linear_{experts(GetParam().num_experts, GetParam().k, GetParam().gate)};
};

TEST_P(MoloraLinear, EqualsItsDefinition) {
  const at::NoGradGuard no_grad;
  EXPECT_TRUE(at::allclose(linear_.forward(linear_.x()), linear_.by_definition(), 1e-12, 1e-12));
}

TEST_P(MoloraLinear, GradientsEqualDifferences) {
  std::vector<Tensor> inputs = {linear_.x().clone().set_requires_grad(true)};
  for (const Parameter& parameter : linear_.adapters().parameters()) {
    if (parameter.name.starts_with(linear_.adapter().path)) inputs.push_back(parameter.value);
  }
  const Tensor direction = at::randn({kTokens, 24}, at::kDouble);
  testing::expect_gradients(
      [&](const std::vector<Tensor>& in) { return (linear_.forward(in[0]) * direction).sum(); },
      inputs);
}

// softmax is invariant to a shift of the kept logits.
TEST_P(MoloraLinear, LogitGradientsOfATokenSumToZero) {
  if (GetParam().gate == RouterConfig::softmax_topk) GTEST_SKIP() << "holds per softmax over all";
  linear_.forward(linear_.x()).sum().backward();
  const Tensor gradient = linear_.adapter().router_bias.grad();
  EXPECT_NEAR(gradient.sum().item<double>(), 0.0,
              1e-12 * (1 + gradient.abs().sum().item<double>()));
}

INSTANTIATE_TEST_SUITE_P(Gates, MoloraLinear,
                         ::testing::Values(Case{2, 1, RouterConfig::topk_softmax},
                                           Case{8, 2, RouterConfig::topk_softmax},
                                           Case{8, 8, RouterConfig::topk_softmax},
                                           Case{5, 3, RouterConfig::softmax_topk},
                                           Case{4, 1, RouterConfig::softmax_topk},
                                           Case{4, 2, RouterConfig::dense_softmax}));

TEST(MoloraLinearFacts, ZeroBIsTheBaseBitForBit) {
  OneLinear linear(experts(8, 2, RouterConfig::topk_softmax));
  const at::NoGradGuard no_grad;
  linear.adapter().lora_B.detach().zero_();
  EXPECT_TRUE(linear.forward(linear.x())
                  .equal(at::linear(linear.x(), linear.base().weight_OD, linear.base().bias_O)));
}

TEST(MoloraLinearFacts, ZeroBGivesOnlyBAGradient) {
  OneLinear linear(experts(8, 2, RouterConfig::topk_softmax));
  linear.adapter().lora_B.detach().zero_();
  linear.forward(linear.x()).sum().backward();
  EXPECT_EQ(linear.adapter().lora_A.grad().abs().max().item<double>(), 0.0);
  EXPECT_EQ(linear.adapter().router_weight.grad().abs().max().item<double>(), 0.0);
  EXPECT_GT(linear.adapter().lora_B.grad().abs().max().item<double>(), 0.0);
}

TEST(MoloraLinearFacts, OneExpertPerTokenGivesTheRouterNoGradient) {
  OneLinear linear(experts(4, 1, RouterConfig::topk_softmax));
  linear.forward(linear.x()).square().sum().backward();
  EXPECT_EQ(linear.adapter().router_weight.grad().abs().max().item<double>(), 0.0);
  EXPECT_EQ(linear.adapter().router_bias.grad().abs().max().item<double>(), 0.0);
}

TEST(MoloraLinearFacts, KeptSoftmaxEqualsRenormalisedSoftmax) {
  const at::NoGradGuard no_grad;
  OneLinear linear(experts(6, 3, RouterConfig::topk_softmax));
  const Tensor weights = route(linear.x(), linear.adapter(), {}).weights_TE;
  const Tensor p = at::softmax(
      at::linear(linear.x(), linear.adapter().router_weight, linear.adapter().router_bias), 1);
  const Tensor kept = p * (weights != 0);
  EXPECT_TRUE(at::allclose(weights, kept / kept.sum(1, true), 1e-12, 1e-14));
}

TEST(MoloraLinearFacts, OneExpertIsPlainLora) {
  const at::NoGradGuard no_grad;
  AdapterConfig one = experts(1, 1, RouterConfig::topk_softmax);
  AdapterConfig lora = one;
  lora.mutable_targets()->set_gate_proj(TargetsConfig::lora);
  lora.set_lora_dropout(0);
  OneLinear a(one);
  OneLinear b(lora);
  const Tensor x = at::randn({kTokens, 16}, at::kDouble);
  const Tensor delta_a = a.forward(x) - at::linear(x, a.base().weight_OD, a.base().bias_O);
  const Tensor delta_b = b.forward(x) - at::linear(x, b.base().weight_OD, b.base().bias_O);
  EXPECT_TRUE(at::allclose(delta_a, delta_b, 1e-12, 1e-12));
}

TEST(MoloraLinearFacts, NoTokensStayConnectedToTheGraph) {
  OneLinear linear(experts(8, 2, RouterConfig::topk_softmax));
  const TokenBatch none = make_token_batch({}, {});
  const ForwardContext context{.batch = none, .mode = ForwardMode::kTrain};
  const Tensor x = at::zeros({0, 16}, at::kDouble).set_requires_grad(true);
  const Tensor out = adapted_linear(x, linear.base(), &linear.adapter(), context);
  ASSERT_EQ(out.sizes(), (at::IntArrayRef{0, 24}));
  out.sum().backward();
  EXPECT_TRUE(linear.adapter().lora_A.grad().defined());
  EXPECT_EQ(linear.adapter().router_weight.grad().abs().max().item<double>(), 0.0);
}

TEST(MoloraLinearDropout, AppliesToTheExpertsInputOnlyAndNotInEvaluation) {
  AdapterConfig config = experts(4, 2, RouterConfig::topk_softmax);
  config.set_expert_dropout(0.5);
  OneLinear linear(config);
  const at::NoGradGuard no_grad;
  const Tensor eval = linear.forward(linear.x());
  const Tensor train = linear.forward(linear.x(), ForwardMode::kTrain);
  EXPECT_FALSE(train.equal(eval));
  const RoutingChoices chosen_in_training = linear.choices();
  linear.forward(linear.x());
  EXPECT_TRUE(linear.choices().chosen_TK[0].equal(chosen_in_training.chosen_TK[0]));
  EXPECT_TRUE(linear.forward(linear.x(), ForwardMode::kTrain).equal(train))
      << "same step, same mask";
  linear.context().step = 1;
  EXPECT_FALSE(linear.forward(linear.x(), ForwardMode::kTrain).equal(train));
}

TEST(MoloraLinearDropout, GradientsEqualDifferences) {
  AdapterConfig config = experts(4, 2, RouterConfig::topk_softmax);
  config.set_expert_dropout(0.3);
  OneLinear linear(config);
  const Tensor direction = at::randn({kTokens, 24}, at::kDouble);
  testing::expect_gradients(
      [&](const std::vector<Tensor>& in) {
        return (linear.forward(in[0], ForwardMode::kTrain) * direction).sum();
      },
      {linear.x().clone().set_requires_grad(true), linear.adapter().lora_A,
       linear.adapter().router_weight});
}

TEST(MoloraLinearBf16, StaysNearTheExactResult) {
  const at::NoGradGuard no_grad;
  AdapterConfig config = experts(8, 2, RouterConfig::topk_softmax);
  const Architecture a = parse_architecture(testing::tiny_config().dump(), "config.json", {});
  AdapterSet adapters(a, config, 3, at::kFloat);
  testing::randomize(adapters, 9);
  const LinearAdapter& adapter = *adapters.find(0, LinearKind::kGate);
  at::manual_seed(5);
  const Tensor x = at::randn({kTokens, 16}).to(at::kBFloat16);
  const FrozenLinear base{at::randn({24, 16}).to(at::kBFloat16), {}};
  const FrozenLinear wide{base.weight_OD.to(at::kFloat), {}};
  const TokenBatch batch = make_token_batch({std::vector<int32_t>(kTokens, 1)}, {0});
  const Tensor got = adapted_linear(x, base, &adapter, {.batch = batch});
  const Tensor exact = adapted_linear(x.to(at::kFloat), wide, &adapter, {.batch = batch});
  EXPECT_EQ(got.scalar_type(), at::kBFloat16);
  // bf16 keeps 8 bits; the sums here have a few dozen terms of size one.
  constexpr double kBf16SumTolerance = 0.06;
  EXPECT_LE((got.to(at::kFloat) - exact).abs().max().item<double>(), kBf16SumTolerance);
}

}  // namespace
}  // namespace molora
