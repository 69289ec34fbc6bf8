// MoLoRA and LoRA training against the reference: routing, losses, gradients, AdamW steps and whole
// loss curves, for every golden_molora_*, golden_peft_lora and golden_finetune_* file.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "support/golden_training.h"
#include "train/loss.h"

namespace molora {
namespace {

using nlohmann::json;
using testing::GoldenTrainer;
using testing::PaddedBatch;
using testing::TensorMap;

constexpr double kLossTolerance = 1e-4;
constexpr double kGradientTolerance = 1e-4;
// Adam divides by the root of tiny second moments, so that rounding differences of 1e-6 in a
// gradient move single parameters by a visible part of a step. After the steps no parameter is
// further away than one step (of size lr), and on average they agree to a thousandth of it.
constexpr double kFinalSteps = 1.0;
constexpr double kFinalMeanSteps = 1e-3;

void expect_close(const TensorMap& got, const TensorMap& expected, double tolerance,
                  const std::string& what) {
  for (const auto& [name, value] : expected) {
    ASSERT_EQ(got.count(name), 1u) << what << " " << name;
    EXPECT_LE((got.at(name) - value).abs().max().item<double>(), tolerance) << what << " " << name;
  }
  EXPECT_EQ(got.size(), expected.size()) << what;
}

TensorMap published_adapters(GoldenTrainer& trainer) {
  TensorMap map;
  for (const auto& tensor : to_published(trainer.loaded().adapters()))
    map[tensor.name] = tensor.value;
  return map;
}

void expect_final(const TensorMap& got, const TensorMap& expected, double learning_rate) {
  expect_close(got, expected, kFinalSteps * learning_rate, "final");
  double difference = 0.0;
  double elements = 0.0;
  for (const auto& [name, value] : expected) {
    difference += (got.at(name) - value).abs().sum().item<double>();
    elements += static_cast<double>(value.numel());
  }
  EXPECT_LE(difference / elements, kFinalMeanSteps * learning_rate);
}

// The experts of each valid token are the reference's, in its order (largest logit first).
void expect_routing(GoldenTrainer& trainer, const TensorMap& route, const Tensor& mask,
                    const AdapterSet& adapters) {
  const RoutingChoices& choices = trainer.step().choices().front();
  const Tensor valid = mask.flatten().nonzero().flatten();
  for (const LinearAdapter& linear : adapters.linears()) {
    if (!linear.spec.has_router()) continue;
    const Tensor expected = route.at(linear.path + ".topk_idx").index_select(0, valid);
    const Tensor chosen = choices.chosen_TK.at(static_cast<size_t>(linear.router_index));
    EXPECT_TRUE(chosen.equal(expected.to(at::kLong))) << linear.path;
  }
}

void expect_step0_statistics(const StepResult& result, const json& step0) {
  EXPECT_NEAR(result.loss, step0.at("ce").get<double>(), kLossTolerance);
  EXPECT_NEAR(result.balance_loss, step0.at("switch_aux_valid_tokens").get<double>(), 1e-5);
  EXPECT_NEAR(result.z_loss, step0.at("z_valid_tokens").get<double>(), 1e-4);
  const auto counts =
      step0.at("assignments_per_router_valid_tokens").get<std::vector<std::vector<int64_t>>>();
  for (size_t router = 0; router < counts.size(); ++router) {
    EXPECT_TRUE(result.expert_counts_RE[static_cast<int64_t>(router)].equal(
        at::tensor(counts[router], at::kLong)))
        << "router " << router;
  }
}

void check_molora(const std::filesystem::path& folder, const std::filesystem::path& json_path) {
  SCOPED_TRACE(json_path.string());
  const json golden = testing::read_json(json_path);
  std::filesystem::path tensor_path = json_path;
  const TensorMap tensors = testing::read_tensors(tensor_path.replace_extension(".safetensors"));
  const AdapterConfig adapter = testing::adapter_of_golden(golden.at("config"));
  GoldenTrainer trainer(folder, adapter, testing::train_config_of_golden(golden.at("optim")));
  load_published(testing::with_prefix(tensors, "init."), tensor_path.string(),
                 trainer.loaded().adapters());
  const double weight_b = adapter.router().balance_loss_coef();
  const double weight_z = adapter.router().z_loss_coef();

  const auto losses = golden.at("losses").get<std::vector<double>>();
  for (size_t i = 0; i < losses.size(); ++i) {
    const std::string step = fmt::format("step{}.", i);
    const PaddedBatch batch{tensors.at(step + "input_ids"), tensors.at(step + "labels"),
                            tensors.at(step + "attention_mask")};
    const StepResult result = trainer.run(static_cast<int64_t>(i), testing::rows_of_padded(batch));
    const double total = result.loss + weight_b * result.balance_loss + weight_z * result.z_loss;
    EXPECT_NEAR(total, losses[i], kLossTolerance) << step;
    const double norm = golden.at("grad_norms")[i].get<double>();
    EXPECT_NEAR(result.grad_norm, norm, 1e-4 * norm) << step;
    if (i > 0) continue;
    expect_step0_statistics(result, golden.at("step0"));
    expect_close(trainer.published_gradients(), testing::with_prefix(tensors, "grad."),
                 kGradientTolerance, "gradient");
    expect_routing(trainer, testing::with_prefix(tensors, "route."), batch.mask,
                   trainer.loaded().adapters());
  }
  expect_final(published_adapters(trainer), testing::with_prefix(tensors, "final."),
               golden["optim"]["lr"].get<double>());
}

class MoloraGolden : public ::testing::TestWithParam<std::filesystem::path> {};

TEST_P(MoloraGolden, RoutingLossesGradientsAndStepsEqualTheReference) {
  const auto files = testing::golden_files(GetParam(), "golden_molora", ".json");
  ASSERT_FALSE(files.empty());
  for (const auto& file : files) check_molora(GetParam(), file);
}

INSTANTIATE_TEST_SUITE_P(Models, MoloraGolden,
                         ::testing::ValuesIn(testing::golden_folders("golden_molora")),
                         [](const auto& param) { return testing::test_name(param.param); });

class PeftGolden : public ::testing::TestWithParam<std::filesystem::path> {};

TEST_P(PeftGolden, LossLogitsAndGradientsEqualPeft) {
  const std::filesystem::path folder = GetParam();
  const json golden = testing::read_json(folder / "golden_peft_lora.json");
  const TensorMap tensors = testing::read_tensors(folder / "golden_peft_lora.safetensors");
  const std::filesystem::path adapter_folder =
      folder / golden.value("adapter", std::string("peft_adapter/"));
  const json peft = testing::read_json(adapter_folder / "adapter_config.json");
  AdapterConfig adapter = testing::frozen_adapters();
  adapter.set_lora_dropout(0.0);
  adapter.set_lora_rank(peft.at("r").get<uint32_t>());
  adapter.set_lora_alpha(peft.at("lora_alpha").get<double>());
  adapter.set_rslora(peft.at("use_rslora").get<bool>());
  for (const std::string name : peft.at("target_modules")) {
    testing::set_target(*adapter.mutable_targets(), name, TargetsConfig::lora);
  }
  TrainConfig train;
  train.set_micro_batch_size(64);
  GoldenTrainer trainer(folder, adapter, train);
  load_published(testing::read_tensors(adapter_folder / "adapter_model.safetensors"),
                 adapter_folder.string(), trainer.loaded().adapters());

  const PaddedBatch batch{tensors.at("input_ids"), tensors.at("labels"),
                          tensors.at("attention_mask")};
  const std::vector<TrainRow> rows = testing::rows_of_padded(batch);
  {
    const at::NoGradGuard no_grad;
    for (size_t row = 0; row < rows.size(); ++row) {
      const TokenBatch tokens = make_token_batch({rows[row][0].ids}, {0});
      const Tensor logits = trainer.loaded().model().logits(
          trainer.loaded().model().hidden_states({.batch = tokens}));
      const Tensor expected =
          tensors.at("logits")[static_cast<int64_t>(row)].slice(0, 0, logits.size(0));
      EXPECT_LE((logits - expected).abs().max().item<double>(), kLossTolerance) << "row " << row;
    }
  }
  EXPECT_NEAR(trainer.run(0, rows).loss, golden.at("loss").get<double>(), kLossTolerance);
  expect_close(trainer.published_gradients(), testing::with_prefix(tensors, "grad."),
               kGradientTolerance, "gradient");
}

INSTANTIATE_TEST_SUITE_P(Models, PeftGolden,
                         ::testing::ValuesIn(testing::golden_folders("golden_peft_lora.json")),
                         [](const auto& param) { return testing::test_name(param.param); });

// Curves agree to a few per cent, not bit for bit: differences of rounding grow with every step.
constexpr double kCurveTolerance = 0.03;

void check_finetune(const std::filesystem::path& folder, const std::filesystem::path& json_path) {
  SCOPED_TRACE(json_path.string());
  const json golden = testing::read_json(json_path);
  std::filesystem::path tensor_path = json_path;
  const TensorMap tensors = testing::read_tensors(tensor_path.replace_extension(".safetensors"));
  GoldenTrainer trainer(folder, testing::adapter_of_golden(golden.at("config")),
                        testing::train_config_of_golden(golden.at("optim")));
  load_published(testing::with_prefix(tensors, "init."), tensor_path.string(),
                 trainer.loaded().adapters());
  const auto losses = golden.at("train_losses").get<std::vector<double>>();
  ASSERT_EQ(static_cast<int64_t>(losses.size()), tensors.at("batches.input_ids").size(0));
  for (size_t i = 0; i < losses.size(); ++i) {
    const auto step = static_cast<int64_t>(i);
    const PaddedBatch batch{tensors.at("batches.input_ids")[step],
                            tensors.at("batches.labels")[step],
                            {},
                            golden.at("pad_id").get<int64_t>()};
    const StepResult result = trainer.run(step, testing::rows_of_padded(batch));
    EXPECT_NEAR(result.loss, losses[i], i == 0 ? kLossTolerance : kCurveTolerance * losses[i])
        << "step " << i;
  }
}

class FinetuneGolden : public ::testing::TestWithParam<std::filesystem::path> {};

TEST_P(FinetuneGolden, LossCurveFollowsTheReference) {
  for (const auto& file : testing::golden_files(GetParam(), "golden_finetune", ".json")) {
    check_finetune(GetParam(), file);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, FinetuneGolden,
                         ::testing::ValuesIn(testing::golden_folders("golden_finetune")),
                         [](const auto& param) { return testing::test_name(param.param); });

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(PeftGolden);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(FinetuneGolden);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(MoloraGolden);

}  // namespace
}  // namespace molora
