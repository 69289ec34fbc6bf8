// Experts that are whole MLPs against their definition: every expert computed whole, one at a time.
#include "model/block_experts.h"

#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/dropout.h"
#include "model/bottleneck.h"
#include "support/loaded_model.h"
#include "support/random_adapters.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace molora {
namespace {

using testing::LoadedLayout;
using testing::LoadedModel;
using testing::TempFolder;

constexpr double kTolerance = 1e-11;
constexpr LinearKind kMlp[] = {LinearKind::kGate, LinearKind::kUp, LinearKind::kDown};

AdapterConfig block_config(RouterConfig::Gate gate = RouterConfig::topk_softmax) {
  AdapterConfig config;
  config.set_num_experts(5);
  config.set_experts_per_token(2);
  config.set_lora_rank(3);
  config.mutable_router()->set_scope(RouterConfig::block);
  config.mutable_router()->set_gate(gate);
  config.mutable_router()->set_top_p_mass(0.5);
  return config;
}

// A Llama, whose MLP may have biases.
class BlockExperts : public ::testing::Test {
 protected:
  BlockExperts() {
    nlohmann::json config = testing::tiny_config();
    config["architectures"] = {"LlamaForCausalLM"};
    config["model_type"] = "llama";
    config["mlp_bias"] = true;
    testing::write_tiny_model(folder_.path(), config);
  }
  LoadedModel load(const AdapterConfig& config, ExpertWay way) const {
    LoadedLayout layout;
    layout.expert_ways = all_linears(way);
    return {folder_.path(), config, Mesh::single(), layout, at::kDouble};
  }
  void expect_the_definition(const AdapterConfig& config, ExpertWay way,
                             TrainConfig::Recompute recompute = TrainConfig::none) const;

  TempFolder folder_;
};

// The pieces of layer 1's MLP.
struct Mlp {
  LoadedModel& loaded;

  Tensor weight(LinearKind kind, const char* suffix) const {
    return loaded.weights().get("model.layers.1." + std::string(linear_path(kind)) + suffix);
  }
  const LinearAdapter* adapter(LinearKind kind) const { return loaded.adapters().find(1, kind); }
  FrozenLinear frozen(LinearKind kind) const {
    return {weight(kind, ".weight"), weight(kind, ".bias")};
  }
  const LinearAdapter& owner() const {
    for (const LinearKind kind : kMlp) {
      if (adapter(kind) != nullptr && adapter(kind)->spec.has_router()) return *adapter(kind);
    }
    throw std::runtime_error("no router");
  }

  // One linear with expert e.
  Tensor linear(const Tensor& x, LinearKind kind, int64_t e, const ForwardContext& context) const {
    const Tensor base = at::linear(x, weight(kind, ".weight"), weight(kind, ".bias"));
    const LinearAdapter* of = adapter(kind);
    if (of == nullptr) return base;
    const auto dropout = token_dropout(*of, context, token_ids(context.batch), of->place.inputs);
    const Tensor read = dropout ? under_dropout(x, *dropout) : x;
    return base + of->spec.scale * read.mm(of->lora_A[e].t()).mm(of->lora_B[e]);
  }

  Tensor defined_output(const Tensor& x, const ForwardContext& context) const {
    const Tensor weights_TE = route(x, owner(), {}).weights_TE;
    Tensor y = at::zeros_like(x);
    for (int64_t e = 0; e < weights_TE.size(1); ++e) {
      const Tensor h = at::silu(linear(x, LinearKind::kGate, e, context)) *
                       linear(x, LinearKind::kUp, e, context);
      y = y + weights_TE.select(1, e).unsqueeze(1) * linear(h, LinearKind::kDown, e, context);
    }
    return y;
  }

  Tensor output(const Tensor& x, const ForwardPass& pass) const {
    const FrozenLinear of[] = {frozen(LinearKind::kGate), frozen(LinearKind::kUp),
                               frozen(LinearKind::kDown)};
    const BlockLinears linears = {{&of[0], adapter(LinearKind::kGate)},
                                  {&of[1], adapter(LinearKind::kUp)},
                                  {&of[2], adapter(LinearKind::kDown)}};
    EXPECT_TRUE(has_block_experts(linears));
    return block_output(block_states(x, linears, pass), linears.down, pass);
  }
};

// y, the gradient of x and those of all trained tensors of the layer.
std::vector<Tensor> results(LoadedModel& loaded, const Tensor& x, const Tensor& y) {
  for (const Parameter& parameter : loaded.adapters().parameters()) {
    parameter.value.mutable_grad().reset();
  }
  Tensor(x).mutable_grad().reset();
  (y * at::arange(1, y.numel() + 1, at::kDouble).view_as(y).sin()).sum().backward();
  std::vector<Tensor> all = {y.detach(), x.grad().clone()};
  for (const Parameter& parameter : loaded.adapters().parameters()) {
    if (!parameter.name.starts_with("layers.1.mlp.")) continue;
    all.push_back(parameter.value.grad().defined() ? parameter.value.grad().clone()
                                                   : at::zeros_like(parameter.value));
  }
  return all;
}

void BlockExperts::expect_the_definition(const AdapterConfig& config, ExpertWay way,
                                         TrainConfig::Recompute recompute) const {
  LoadedModel loaded = load(config, way);
  testing::randomize(loaded.adapters(), 3);
  const TokenBatch batch = make_token_batch({{1, 2, 3, 4, 5, 6}, {7}, {8, 9, 10, 11}}, {4, 5, 6});
  const ForwardContext context{
      .batch = batch, .mode = ForwardMode::kTrain, .seed = 5, .step = 2, .recompute = recompute};
  const Mesh mesh = Mesh::single();
  const ParallelLayout layout{mesh, false, false, all_linears(way)};
  const ForwardPass pass(layout, context);
  const Mlp mlp{loaded};
  at::manual_seed(1);
  const Tensor x = at::randn({11, 16}, at::kDouble).requires_grad_();
  const std::vector<Tensor> expected = results(loaded, x, mlp.defined_output(x, context));
  const std::vector<Tensor> got = results(loaded, x, mlp.output(x, pass));
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_LE((got[i] - expected[i]).abs().max().item<double>(),
              kTolerance * std::max(1.0, expected[i].abs().max().item<double>()))
        << expert_way_name(way) << ", result " << i;
    EXPECT_GT(expected[i].abs().max().item<double>(), 0.0) << "result " << i;
  }
}

TEST_F(BlockExperts, AreTheirDefinitionWithEachGate) {
  for (const RouterConfig::Gate gate :
       {RouterConfig::topk_softmax, RouterConfig::softmax_topk, RouterConfig::softmax_topk_renorm,
        RouterConfig::dense_softmax, RouterConfig::top_p}) {
    SCOPED_TRACE(RouterConfig::Gate_Name(gate));
    for (const ExpertWay way : {ExpertWay::kDense, ExpertWay::kGrouped}) {
      expect_the_definition(block_config(gate), way);
    }
  }
}

TEST_F(BlockExperts, AreTheirDefinitionWhereSomeLinearsAreFrozen) {
  for (const LinearKind frozen : kMlp) {
    for (const bool is_frozen_alone : {true, false}) {
      AdapterConfig config = block_config();
      TargetsConfig& targets = *config.mutable_targets();
      const auto set = [&](LinearKind kind, auto setter) {
        if ((kind == frozen) == is_frozen_alone) (targets.*setter)(TargetsConfig::frozen);
      };
      set(LinearKind::kGate, &TargetsConfig::set_gate_proj);
      set(LinearKind::kUp, &TargetsConfig::set_up_proj);
      set(LinearKind::kDown, &TargetsConfig::set_down_proj);
      for (const ExpertWay way : {ExpertWay::kDense, ExpertWay::kGrouped}) {
        expect_the_definition(config, way);
      }
    }
  }
}

TEST_F(BlockExperts, AreTheirDefinitionUnderDropoutAndRecomputation) {
  AdapterConfig config = block_config();
  config.set_expert_dropout(0.3);
  for (const ExpertWay way : {ExpertWay::kDense, ExpertWay::kGrouped}) {
    for (const auto recompute : {TrainConfig::none, TrainConfig::selective}) {
      expect_the_definition(config, way, recompute);
    }
  }
}

TEST_F(BlockExperts, ShareOneAWhereAskedFor) {
  AdapterConfig config = block_config();
  config.set_shared_a(true);
  LoadedModel loaded = load(config, ExpertWay::kGrouped);
  testing::randomize(loaded.adapters(), 3);
  const TokenBatch batch = make_token_batch({{1, 2, 3, 4}}, {0});
  const at::NoGradGuard no_grad;
  LoadedModel dense = load(config, ExpertWay::kDense);
  testing::randomize(dense.adapters(), 3);
  EXPECT_TRUE(at::allclose(loaded.model().hidden_states({.batch = batch}),
                           dense.model().hidden_states({.batch = batch}), 1e-11, 1e-12));
}

TEST_F(BlockExperts, HaveOneRouterForTheMlp) {
  LoadedModel loaded = load(block_config(), ExpertWay::kGrouped);
  testing::randomize(loaded.adapters(), 3);
  EXPECT_EQ(loaded.adapters().num_routers(), 2);
  std::vector<std::string> routers;
  for (const Parameter& parameter : loaded.adapters().parameters()) {
    if (parameter.name.ends_with(".router.weight")) routers.push_back(parameter.name);
  }
  EXPECT_EQ(routers,
            (std::vector<std::string>{"layers.0.mlp.router.weight", "layers.1.mlp.router.weight"}));
  EXPECT_EQ(loaded.adapters().find(0, LinearKind::kUp)->router_index, -1);
}

TEST_F(BlockExperts, OneExpertIsPlainLoraOnEachLinear) {
  AdapterConfig config = block_config();
  config.set_num_experts(1);
  config.set_experts_per_token(1);
  LoadedModel one = load(config, ExpertWay::kGrouped);
  testing::randomize(one.adapters(), 3);
  config.mutable_router()->set_scope(RouterConfig::linear);
  LoadedModel plain = load(config, ExpertWay::kDense);
  testing::randomize(plain.adapters(), 3);
  const TokenBatch batch = make_token_batch({{1, 2, 3, 4}}, {0});
  const at::NoGradGuard no_grad;
  EXPECT_TRUE(one.model()
                  .hidden_states({.batch = batch})
                  .equal(plain.model().hidden_states({.batch = batch})));
}

TEST_F(BlockExperts, GenerateWithACacheWhatTheWholeForwardGives) {
  const at::NoGradGuard no_grad;
  LoadedModel loaded = load(block_config(), ExpertWay::kGrouped);
  testing::randomize(loaded.adapters(), 3);
  const Tensor expected =
      loaded.model().hidden_states({.batch = make_token_batch({{1, 2, 3, 4, 5}}, {0})});
  KvCache cache(loaded.architecture().num_layers, 1);
  const TokenBatch first = make_token_batch({{1, 2, 3}}, {0});
  (void)loaded.model().hidden_states({.batch = first, .cache = &cache});
  for (int32_t token = 4; token <= 5; ++token) {
    const TokenBatch next = make_token_batch({{token}}, {0}, {cache.length(0)});
    EXPECT_TRUE(at::allclose(loaded.model().hidden_states({.batch = next, .cache = &cache})[0],
                             expected[token - 1], 1e-11, 1e-12));
  }
}

TEST_F(BlockExperts, NoTokensGiveAnEmptyConnectedResult) {
  for (const ExpertWay way : {ExpertWay::kDense, ExpertWay::kGrouped}) {
    LoadedModel loaded = load(block_config(), way);
    testing::randomize(loaded.adapters(), 3);
    const TokenBatch none = make_token_batch({}, {});
    const Tensor out = loaded.model().hidden_states({.batch = none, .mode = ForwardMode::kTrain});
    ASSERT_EQ(out.sizes(), (at::IntArrayRef{0, 16}));
    out.sum().backward();
    for (const Parameter& parameter : loaded.adapters().parameters()) {
      EXPECT_TRUE(parameter.value.grad().defined()) << parameter.name;
    }
  }
}

// How far a model in bf16 with fp32 masters is off the same numbers in fp64, as a share.
double error_in_bf16(const std::filesystem::path& folder, const AdapterConfig& config,
                     ExpertWay way) {
  const at::NoGradGuard no_grad;
  const TokenBatch batch = make_token_batch({{1, 2, 3, 4, 5, 6, 7}}, {0});
  LoadedLayout layout;
  layout.expert_ways = all_linears(way);
  std::vector<Tensor> hidden;
  for (const at::ScalarType type : {at::kDouble, at::kBFloat16}) {
    LoadedModel loaded(folder, config, Mesh::single(), layout, type);
    testing::randomize(loaded.adapters(), 3);
    hidden.push_back(loaded.model().hidden_states({.batch = batch}).to(at::kDouble));
  }
  return ((hidden[1] - hidden[0]).norm() / hidden[0].norm()).item<double>();
}

// With a gate that no rounding turns.
TEST_F(BlockExperts, InBf16AreAsNearAsOtherExperts) {
  AdapterConfig config = block_config(RouterConfig::dense_softmax);
  config.mutable_router()->set_scope(RouterConfig::linear);
  const double of_linears = error_in_bf16(folder_.path(), config, ExpertWay::kDense);
  config.mutable_router()->set_scope(RouterConfig::block);
  for (const ExpertWay way : {ExpertWay::kDense, ExpertWay::kGrouped}) {
    EXPECT_LE(error_in_bf16(folder_.path(), config, way), 2.0 * of_linears) << expert_way_name(way);
  }
}

}  // namespace
}  // namespace molora
