// MixLoRA training against its definition in plain PyTorch (mixlora_golden.py): losses, choices,
// balance loss and gradients, with both ways of computing experts.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "support/golden_training.h"

namespace molora {
namespace {

using nlohmann::json;
using testing::GoldenTrainer;
using testing::PaddedBatch;
using testing::TensorMap;

constexpr double kLossTolerance = 1e-4;
constexpr double kGradientTolerance = 1e-4;

struct Golden {
  std::filesystem::path folder;
  json config;
  TensorMap tensors;
  TensorMap batches;
};

Golden read_golden() {
  const std::filesystem::path folder = "tests/assets/models/tiny-llama-gqa-untied";
  return {folder, testing::read_json(folder / "golden_mixlora.json"),
          testing::read_tensors(folder / "golden_mixlora.safetensors"),
          testing::read_tensors(folder / "golden_molora_ming.safetensors")};
}

AdapterConfig adapter_of(const json& config, const std::string& gate) {
  AdapterConfig adapter = testing::frozen_adapters();
  for (const auto& name : config.at("lora")) {
    testing::set_target(*adapter.mutable_targets(), name.get<std::string>(), TargetsConfig::lora);
  }
  for (const char* name : {"gate_proj", "up_proj", "down_proj"}) {
    testing::set_target(*adapter.mutable_targets(), name, TargetsConfig::experts);
  }
  adapter.set_num_experts(config.at("num_experts").get<uint32_t>());
  adapter.set_experts_per_token(config.at("experts_per_token").get<uint32_t>());
  adapter.set_lora_rank(config.at("lora_rank").get<uint32_t>());
  adapter.set_lora_alpha(config.at("lora_alpha").get<double>());
  adapter.set_lora_dropout(0.0);
  RouterConfig& router = *adapter.mutable_router();
  router.set_scope(RouterConfig::block);
  router.set_bias(false);
  router.set_gate(gate == "top_p" ? RouterConfig::top_p : RouterConfig::softmax_topk_renorm);
  router.set_top_p_mass(config.at("top_p_mass").get<double>());
  router.set_balance_loss_coef(config.at("balance_loss_coef").get<double>());
  return adapter;
}

TrainConfig train_of(const json& config) {
  TrainConfig train;
  train.set_micro_batch_size(64);
  train.set_learning_rate(config.at("learning_rate").get<double>());
  train.set_weight_decay(config.at("weight_decay").get<double>());
  train.set_clip_norm(config.at("clip_norm").get<double>());
  train.set_schedule(TrainConfig::constant);
  return train;
}

void expect_gradients(const TensorMap& got, const TensorMap& expected) {
  EXPECT_EQ(got.size(), expected.size());
  for (const auto& [name, value] : expected) {
    ASSERT_EQ(got.count(name), 1u) << name;
    EXPECT_LE((got.at(name) - value).abs().max().item<double>(), kGradientTolerance) << name;
  }
}

// The loss that the published code takes is k times ours over all routers: it divides choices by
// tokens, which makes its shares sum to k.
void expect_published_loss(const json& config, const json& step) {
  EXPECT_NEAR(
      step.at("balance_published").get<double>(),
      config.at("experts_per_token").get<double>() * step.at("balance_concat").get<double>(), 1e-5);
}

void expect_step(const StepResult& result, const json& step) {
  EXPECT_NEAR(result.loss, step.at("ce").get<double>(), kLossTolerance);
  EXPECT_NEAR(result.balance_loss, step.at("balance_mean").get<double>(), 1e-5);
  const double norm = step.at("grad_norm").get<double>();
  EXPECT_NEAR(result.grad_norm, norm, 1e-4 * norm);
  const auto counts = step.at("counts").get<std::vector<std::vector<int64_t>>>();
  ASSERT_EQ(result.expert_counts_RE.size(0), static_cast<int64_t>(counts.size()));
  for (size_t router = 0; router < counts.size(); ++router) {
    EXPECT_TRUE(result.expert_counts_RE[static_cast<int64_t>(router)].equal(
        at::tensor(counts[router], at::kLong)))
        << "router " << router;
  }
}

class MixloraGolden : public ::testing::TestWithParam<std::tuple<const char*, ExpertWay>> {};

TEST_P(MixloraGolden, LossesChoicesAndGradientsEqualTheDefinition) {
  const auto& [gate, way] = GetParam();
  const Golden golden = read_golden();
  GoldenTrainer trainer(golden.folder, adapter_of(golden.config, gate), train_of(golden.config),
                        all_linears(way));
  load_published(testing::with_prefix(golden.tensors, "init."), "golden_mixlora.safetensors",
                 trainer.loaded().adapters());
  const json& steps = golden.config.at("steps").at(gate);
  for (size_t i = 0; i < steps.size(); ++i) {
    SCOPED_TRACE(fmt::format("step {}", i));
    const std::string step = fmt::format("step{}.", i);
    const PaddedBatch batch{golden.batches.at(step + "input_ids"),
                            golden.batches.at(step + "labels"),
                            golden.batches.at(step + "attention_mask")};
    expect_step(trainer.run(static_cast<int64_t>(i), testing::rows_of_padded(batch)), steps[i]);
    if (std::string(gate) == "top_k") expect_published_loss(golden.config, steps[i]);
    if (i > 0) continue;
    expect_gradients(trainer.published_gradients(PublishedForm::kMixlora),
                     testing::with_prefix(golden.tensors, std::string(gate) + ".grad."));
  }
}

// MixLoRA takes the loss over all routers together.
TEST(MixloraGoldenLoss, OverAllRoutersTogetherIsTheDefinitions) {
  const Golden golden = read_golden();
  AdapterConfig adapter = adapter_of(golden.config, "top_k");
  adapter.mutable_router()->set_loss_across_routers(RouterConfig::concat);
  GoldenTrainer trainer(golden.folder, adapter, train_of(golden.config));
  load_published(testing::with_prefix(golden.tensors, "init."), "golden_mixlora.safetensors",
                 trainer.loaded().adapters());
  const PaddedBatch batch{golden.batches.at("step0.input_ids"), golden.batches.at("step0.labels"),
                          golden.batches.at("step0.attention_mask")};
  const json& step = golden.config.at("steps").at("top_k").front();
  const StepResult result = trainer.run(0, testing::rows_of_padded(batch));
  EXPECT_NEAR(result.balance_loss, step.at("balance_concat").get<double>(), 1e-5);
  EXPECT_GT(std::abs(result.balance_loss - step.at("balance_mean").get<double>()), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Gates, MixloraGolden,
                         ::testing::Combine(::testing::Values("top_k", "top_p"),
                                            ::testing::Values(ExpertWay::kDense,
                                                              ExpertWay::kGrouped)),
                         [](const auto& of) {
                           return std::string(std::get<0>(of.param)) + "_" +
                                  expert_way_name(std::get<1>(of.param));
                         });

}  // namespace
}  // namespace molora
