#include "model/adapter.h"

#include <cmath>
#include <set>

#include <gtest/gtest.h>

#include "support/loaded_model.h"
#include "support/tiny_model.h"

namespace molora {
namespace {

Architecture tiny() { return parse_architecture(testing::tiny_config().dump(), "config.json", {}); }

TEST(AdapterSet, DefaultsAreTheMingPreset) {
  const AdapterSet adapters(tiny(), AdapterConfig(), 1, at::kFloat);
  EXPECT_EQ(adapters.linears().size(), 2u * 7u);
  EXPECT_EQ(adapters.num_routers(), 2 * 3);
  const LinearAdapter* gate = adapters.find(1, LinearKind::kGate);
  ASSERT_NE(gate, nullptr);
  EXPECT_EQ(gate->lora_A.sizes(), (at::IntArrayRef{8, 16, 16}));
  EXPECT_EQ(gate->lora_B.sizes(), (at::IntArrayRef{8, 16, 24}));
  EXPECT_EQ(gate->spec.experts_per_token, 2);
  EXPECT_EQ(gate->spec.scale, 2.0);
  const LinearAdapter* q = adapters.find(0, LinearKind::kQ);
  ASSERT_NE(q, nullptr);
  EXPECT_FALSE(q->spec.has_router());
  EXPECT_EQ(q->spec.dropout, 0.05);
}

TEST(AdapterSet, FrozenLinearsHaveNone) {
  const AdapterSet adapters(tiny(), testing::frozen_adapters(), 1, at::kFloat);
  EXPECT_TRUE(adapters.parameters().empty());
  EXPECT_EQ(adapters.find(0, LinearKind::kQ), nullptr);
}

TEST(AdapterSet, OneExpertHasNoRouter) {
  AdapterConfig config;
  config.set_num_experts(1);
  const AdapterSet adapters(tiny(), config, 1, at::kFloat);
  EXPECT_EQ(adapters.num_routers(), 0);
}

TEST(AdapterSet, StartsAsTheReferenceDoes) {
  const AdapterSet adapters(tiny(), AdapterConfig(), 1, at::kDouble);
  const LinearAdapter& down = *adapters.find(0, LinearKind::kDown);
  const double bound = 1.0 / std::sqrt(24.0);
  EXPECT_EQ(down.lora_B.abs().max().item<double>(), 0.0);
  for (const Tensor& tensor : {down.lora_A, down.router_weight}) {
    EXPECT_LE(tensor.abs().max().item<double>(), bound);
    EXPECT_NEAR(tensor.var().item<double>(), bound * bound / 3.0, 0.15 * bound * bound);
  }
}

TEST(AdapterSet, ARouterWithoutBiasHasOneThatIsZeroAndStays) {
  AdapterConfig config;
  config.mutable_router()->set_bias(false);
  const AdapterSet adapters(tiny(), config, 1, at::kDouble);
  const AdapterSet with_bias(tiny(), AdapterConfig(), 1, at::kDouble);
  size_t routers = 0;
  for (size_t i = 0; i < adapters.parameters().size(); ++i) {
    const Parameter& parameter = adapters.parameters()[i];
    if (!parameter.name.ends_with(".router.bias")) {
      EXPECT_TRUE(parameter.value.equal(with_bias.parameters()[i].value)) << parameter.name;
      EXPECT_TRUE(parameter.frozen_rows.empty()) << parameter.name;
      continue;
    }
    ++routers;
    EXPECT_EQ(parameter.value.count_nonzero().item<int64_t>(), 0) << parameter.name;
    EXPECT_EQ(parameter.frozen_rows, (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7}));
    EXPECT_GT(with_bias.parameters()[i].value.abs().max().item<double>(), 0.0);
  }
  EXPECT_EQ(routers, 6u);
  EXPECT_EQ(count_adapter_parameters(tiny(), AdapterConfig()).routers -
                count_adapter_parameters(tiny(), config).routers,
            6 * 8);
}

TEST(AdapterSet, RouterWeightsBeginNormalWhereThatIsAskedFor) {
  AdapterConfig config;
  config.set_num_experts(64);
  config.mutable_router()->set_init_std(0.02);
  const AdapterSet adapters(tiny(), config, 1, at::kDouble);
  const LinearAdapter& down = *adapters.find(0, LinearKind::kDown);
  EXPECT_NEAR(down.router_weight.std().item<double>(), 0.02, 0.002);
  EXPECT_GT(down.router_weight.abs().max().item<double>(), 0.04);  // uniform would end at 0.035
  const AdapterSet uniform(
      tiny(),
      [] {
        AdapterConfig of;
        of.set_num_experts(64);
        return of;
      }(),
      1, at::kDouble);
  EXPECT_TRUE(down.lora_A.equal(uniform.find(0, LinearKind::kDown)->lora_A));
}

TEST(AdapterSet, TheRenormalisedGateIsTheOneOverTheKeptLogits) {
  AdapterConfig config;
  config.mutable_router()->set_gate(RouterConfig::softmax_topk_renorm);
  EXPECT_EQ(adapter_spec(config, LinearKind::kUp, 0).gate, RouterConfig::topk_softmax);
}

TEST(AdapterSet, NumbersDependOnSeedNameAndExpertAlone) {
  AdapterConfig four;
  four.set_num_experts(4);
  const AdapterSet a(tiny(), four, 1, at::kFloat);
  const AdapterSet b(tiny(), AdapterConfig(), 1, at::kFloat);
  const AdapterSet c(tiny(), AdapterConfig(), 2, at::kFloat);
  const auto lora_a = [](const AdapterSet& s) {
    return s.find(1, LinearKind::kUp)->lora_A.detach();
  };
  EXPECT_TRUE(lora_a(a).equal(lora_a(b).slice(0, 0, 4)));
  EXPECT_FALSE(lora_a(b).equal(lora_a(c)));
  EXPECT_FALSE(lora_a(b)[0].equal(lora_a(b)[1]));
}

TEST(AdapterSet, ParametersAreNamedOnceAndShareStorage) {
  const AdapterSet adapters(tiny(), AdapterConfig(), 1, at::kFloat);
  std::set<std::string> names;
  int64_t elements = 0;
  for (const Parameter& parameter : adapters.parameters()) {
    EXPECT_TRUE(names.insert(parameter.name).second) << parameter.name;
    EXPECT_TRUE(parameter.value.requires_grad());
    elements += parameter.value.numel();
  }
  EXPECT_EQ(adapters.parameters().front().name, "layers.0.self_attn.q_proj.lora_A");
  EXPECT_TRUE(adapters.parameters().front().value.is_same(adapters.linears().front().lora_A));
  EXPECT_EQ(elements, count_adapter_parameters(tiny(), AdapterConfig()).total());
}

TEST(AdapterSet, FrozenExpertsAreRowsOfAAndBAlone) {
  AdapterConfig config;
  config.add_frozen_experts(6);
  config.add_frozen_experts(2);
  const AdapterSet adapters(tiny(), config, 1, at::kFloat);
  for (const Parameter& parameter : adapters.parameters()) {
    const bool is_of_experts = parameter.name.find(".mlp.") != std::string::npos &&
                               parameter.name.find(".lora_") != std::string::npos;
    EXPECT_EQ(parameter.frozen_rows,
              is_of_experts ? std::vector<int64_t>({2, 6}) : std::vector<int64_t>())
        << parameter.name;
  }
}

TEST(AdapterSet, ARankFreezesTheRowsOfItsOwnExperts) {
  AdapterConfig config;
  for (const uint32_t expert : {1u, 4u, 6u}) config.add_frozen_experts(expert);
  AdapterPlacement second{mesh_shape(2, 1, 2), 1, all_groups(ExchangeMode::kTokens)};
  const AdapterSet adapters(tiny(), config, 1, at::kFloat, second);
  for (const Parameter& parameter : adapters.parameters()) {
    if (parameter.name != "layers.0.mlp.up_proj.lora_B") continue;
    EXPECT_EQ(parameter.offset.front(), 4);
    EXPECT_EQ(parameter.frozen_rows, (std::vector<int64_t>{0, 2}));
    return;
  }
  FAIL() << "no such parameter";
}

// A pair of rank 16 on linears of 16 and 24 channels, three linears in two layers.
TEST(AdapterCounts, FrozenExpertsAreNotTrained) {
  AdapterConfig config;
  const AdapterCounts all = count_adapter_parameters(tiny(), config);
  config.add_frozen_experts(6);
  config.add_frozen_experts(2);
  const AdapterCounts counts = count_adapter_parameters(tiny(), config);
  EXPECT_EQ(counts.frozen_experts, 2 * 16 * (16 + 24) * 3 * 2);
  EXPECT_EQ(counts.experts, all.experts);
  EXPECT_EQ(counts.trained(), all.total() - counts.frozen_experts);
}

// Formulas and figures of the published MING-MOE sizes (Qwen1.5, E = 8, r = 16).
TEST(AdapterCounts, EqualThePublishedModels) {
  struct Published {
    int64_t hidden, ff, layers, heads, vocab;
    double base_b, lora_m, experts_m, routers_m;
  };
  for (const Published& p :
       {Published{2048, 5504, 24, 16, 151936, 1.837, 6.29, 69.60, 1.844},
        Published{4096, 11008, 32, 32, 151936, 7.721, 16.78, 185.60, 4.916},
        Published{5120, 13696, 40, 40, 152064, 14.167, 26.21, 289.01, 7.660}}) {
    nlohmann::json config = testing::tiny_config();
    config["hidden_size"] = p.hidden;
    config["intermediate_size"] = p.ff;
    config["num_hidden_layers"] = p.layers;
    config["num_attention_heads"] = p.heads;
    config["num_key_value_heads"] = p.heads;
    config["vocab_size"] = p.vocab;
    config["tie_word_embeddings"] = false;
    const Architecture a = parse_architecture(config.dump(), "config.json", {});
    const AdapterCounts counts = count_adapter_parameters(a, AdapterConfig());
    EXPECT_NEAR(static_cast<double>(count_base_parameters(a)) / 1e9, p.base_b, 5e-4);
    EXPECT_NEAR(static_cast<double>(counts.lora) / 1e6, p.lora_m, 5e-3);
    EXPECT_NEAR(static_cast<double>(counts.experts) / 1e6, p.experts_m, 5e-3);
    EXPECT_NEAR(static_cast<double>(counts.routers) / 1e6, p.routers_m, 5e-4);
  }
}

}  // namespace
}  // namespace molora
