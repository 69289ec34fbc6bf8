#include "export/published_names.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/random_adapters.h"
#include "support/tiny_model.h"

namespace molora {
namespace {

AdapterSet tiny_adapters(uint64_t seed) {
  AdapterConfig config;
  config.set_num_experts(3);
  config.set_lora_rank(2);
  AdapterSet adapters(parse_architecture(testing::tiny_config().dump(), "config.json", {}), config,
                      seed, at::kFloat);
  testing::randomize(adapters, seed);
  return adapters;
}

std::map<std::string, Tensor> published(const AdapterSet& adapters) {
  std::map<std::string, Tensor> map;
  for (const PublishedTensor& tensor : to_published(adapters)) map[tensor.name] = tensor.value;
  return map;
}

TEST(PublishedNames, AreThoseOfPeftAndMing) {
  const AdapterSet adapters = tiny_adapters(1);
  const auto map = published(adapters);
  const std::string layer = "base_model.model.model.layers.1.";
  EXPECT_EQ(map.at(layer + "self_attn.k_proj.lora_B.weight").sizes(), (at::IntArrayRef{8, 2}));
  EXPECT_EQ(map.at(layer + "mlp.down_proj.experts.2.lora_A_2.weight").sizes(),
            (at::IntArrayRef{2, 24}));
  EXPECT_EQ(map.at(layer + "mlp.gate_proj.switch.weight").sizes(), (at::IntArrayRef{3, 16}));
  EXPECT_EQ(map.at(layer + "mlp.up_proj.switch.bias").sizes(), (at::IntArrayRef{3}));
  EXPECT_EQ(map.size(), 2u * (4u * 2u + 3u * (3u * 2u + 2u)));
}

TEST(PublishedNames, RoundTripIsExact) {
  const AdapterSet from = tiny_adapters(1);
  AdapterSet to = tiny_adapters(2);
  load_published(published(from), "file", to);
  for (size_t i = 0; i < from.parameters().size(); ++i) {
    EXPECT_TRUE(to.parameters()[i].value.equal(from.parameters()[i].value))
        << from.parameters()[i].name;
  }
}

AdapterSet moe_peft_adapters(bool is_block, uint64_t seed) {
  AdapterConfig config;
  config.set_num_experts(3);
  config.set_lora_rank(2);
  config.mutable_router()->set_bias(false);
  if (is_block) {
    config.mutable_router()->set_scope(RouterConfig::block);
  } else {
    for (auto set : {&TargetsConfig::set_k_proj, &TargetsConfig::set_o_proj,
                     &TargetsConfig::set_v_proj, &TargetsConfig::set_q_proj}) {
      (config.mutable_targets()->*set)(TargetsConfig::experts);
    }
  }
  AdapterSet adapters(parse_architecture(testing::tiny_config().dump(), "config.json", {}), config,
                      seed, at::kFloat);
  testing::randomize(adapters, seed);
  const at::NoGradGuard no_grad;
  for (const LinearAdapter& linear : adapters.linears()) {
    if (linear.spec.has_router()) linear.router_bias.detach().zero_();
  }
  return adapters;
}

std::map<std::string, Tensor> published_as(const AdapterSet& adapters, PublishedForm form) {
  std::map<std::string, Tensor> map;
  for (const PublishedTensor& tensor : to_published(adapters, form))
    map[tensor.name] = tensor.value;
  return map;
}

TEST(PublishedNames, AreThoseOfMixlora) {
  const auto map = published_as(moe_peft_adapters(true, 1), PublishedForm::kMixlora);
  const std::string layer = "mixlora.layers.1.";
  EXPECT_EQ(map.at(layer + "mlp.moe_gate.weight").sizes(), (at::IntArrayRef{3, 16}));
  EXPECT_EQ(map.at(layer + "mlp.down_proj.experts.2.lora_A.weight").sizes(),
            (at::IntArrayRef{2, 24}));
  EXPECT_EQ(map.at(layer + "self_attn.k_proj.lora_B.weight").sizes(), (at::IntArrayRef{8, 2}));
  EXPECT_EQ(map.size(), 2u * (4u * 2u + 1u + 3u * 3u * 2u));
}

TEST(PublishedNames, AreThoseOfMola) {
  const auto map = published_as(moe_peft_adapters(false, 1), PublishedForm::kMola);
  const std::string layer = "mola.layers.0.";
  EXPECT_EQ(map.at(layer + "self_attn.k_proj.moe_gate.weight").sizes(), (at::IntArrayRef{3, 16}));
  EXPECT_EQ(map.at(layer + "mlp.down_proj.moe_gate.weight").sizes(), (at::IntArrayRef{3, 24}));
  EXPECT_EQ(map.at(layer + "mlp.up_proj.experts.0.lora_B.weight").sizes(),
            (at::IntArrayRef{24, 2}));
  EXPECT_EQ(map.size(), 2u * 7u * (3u * 2u + 1u));
}

TEST(PublishedNames, RoundTripsOfMoePeftAreExactAndPassOverTheBase) {
  for (const bool is_block : {true, false}) {
    const AdapterSet from = moe_peft_adapters(is_block, 1);
    AdapterSet to = moe_peft_adapters(is_block, 2);
    auto map = published_as(from, is_block ? PublishedForm::kMixlora : PublishedForm::kMola);
    map["lm_head_.weight"] = at::ones({37, 16});
    load_published(map, "file", to);
    for (size_t i = 0; i < from.parameters().size(); ++i) {
      EXPECT_TRUE(to.parameters()[i].value.equal(from.parameters()[i].value))
          << from.parameters()[i].name;
    }
    map["classifier"] = at::ones({2, 16});
    EXPECT_THROW_WITH(load_published(map, "a.bin", to), DataError, "classifier", "no place");
  }
}

TEST(PublishedNames, MissingLeftOverAndMisshapenTensorsAreRefusedAndChangeNothing) {
  const AdapterSet from = tiny_adapters(1);
  AdapterSet to = tiny_adapters(2);
  const Tensor before = to.parameters().front().value.detach().clone();
  const std::string name = "base_model.model.model.layers.0.mlp.up_proj.switch.bias";

  auto missing = published(from);
  missing.erase(name);
  EXPECT_THROW_WITH(load_published(missing, "a.safetensors", to), DataError, "a.safetensors", name,
                    "missing");
  auto extra = published(from);
  extra["base_model.model.model.layers.9.mlp.up_proj.switch.bias"] = at::zeros(3);
  EXPECT_THROW_WITH(load_published(extra, "a.safetensors", to), DataError, "layers.9", "no place");
  auto misshapen = published(from);
  misshapen[name] = at::zeros(4);
  EXPECT_THROW_WITH(load_published(misshapen, "a.safetensors", to), DataError, name, "[4]", "[3]");
  EXPECT_TRUE(to.parameters().front().value.equal(before));
}

}  // namespace
}  // namespace molora
