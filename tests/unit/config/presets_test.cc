// Every file in configs/ is in order, and says what its first lines claim.
#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/config_difference.h"
#include "config/load_config.h"

namespace molora {
namespace {

using ::testing::ElementsAre;

const char* const kModel = "tests/assets/models/medqwen3-1m";
const char* const kData = "tests/assets/data/multitask/train.jsonl";

// Fills in what the preset leaves open.
RunConfig load_preset(const std::string& file) {
  std::vector<std::string> overrides = {std::string("model.path=") + kModel};
  if (file.find("multitask") == std::string::npos) {
    overrides.push_back(std::string("data.train=") + kData);
  }
  return load_config({{std::filesystem::path("configs") / file}, overrides}).config;
}

TEST(Presets, AllLoad) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator("configs")) {
    if (entry.is_directory()) continue;  // model shapes
    files.push_back(entry.path().filename().string());
    const RunConfig config = load_preset(files.back());
    EXPECT_EQ(config.model().path(), kModel) << files.back();
    EXPECT_EQ(config.data().train(0).path(), kData) << files.back();
  }
  EXPECT_THAT(files,
              ::testing::IsSupersetOf({"ming-moe.yaml", "lora.yaml", "medqwen3-multitask.yaml",
                                       "smollm2-multitask.yaml", "mixlora.yaml", "mola.yaml",
                                       "medcare.yaml", "hydralora.yaml", "loramoe.yaml",
                                       "adamole.yaml", "moelora.yaml", "dora.yaml"}));
}

TEST(Presets, MingMoeIsTheDefaultButForThePrecision) {
  RunConfig defaults;
  defaults.mutable_model()->set_path(kModel);
  defaults.mutable_data()->add_train()->set_path(kData);
  EXPECT_THAT(config_difference(defaults, load_preset("ming-moe.yaml")),
              ElementsAre("model.precision: fp32 -> bf16"));
}

TEST(Presets, LoraHasNoExperts) {
  const TargetsConfig targets = load_preset("lora.yaml").adapter().targets();
  EXPECT_EQ(targets.q_proj(), TargetsConfig::lora);
  EXPECT_EQ(targets.gate_proj(), TargetsConfig::lora);
  EXPECT_EQ(targets.up_proj(), TargetsConfig::lora);
  EXPECT_EQ(targets.down_proj(), TargetsConfig::lora);
}

TEST(Presets, MixloraHasOneRouterForWholeMlps) {
  const AdapterConfig adapter = load_preset("mixlora.yaml").adapter();
  EXPECT_EQ(adapter.router().scope(), RouterConfig::block);
  EXPECT_EQ(adapter.router().loss_across_routers(), RouterConfig::concat);
  EXPECT_FALSE(adapter.router().bias());
  EXPECT_EQ(adapter.targets().q_proj(), TargetsConfig::lora);
  EXPECT_EQ(adapter.targets().down_proj(), TargetsConfig::experts);
}

TEST(Presets, MolaHasExpertsOnEveryLinear) {
  const AdapterConfig adapter = load_preset("mola.yaml").adapter();
  EXPECT_EQ(adapter.router().scope(), RouterConfig::linear);
  EXPECT_FALSE(adapter.router().bias());
  EXPECT_EQ(adapter.targets().q_proj(), TargetsConfig::experts);
  EXPECT_EQ(adapter.targets().down_proj(), TargetsConfig::experts);
}

TEST(Presets, MedCareIsMingMoeWithSharedExperts) {
  EXPECT_THAT(config_difference(load_preset("ming-moe.yaml"), load_preset("medcare.yaml")),
              ElementsAre("adapter.router.gate: topk_softmax -> softmax_topk_renorm",
                          "adapter.shared_experts: 0 -> 2"));
}

TEST(Presets, HydraLoraAndLoraMoeUseAllExpertsOfTheMlp) {
  for (const char* file : {"hydralora.yaml", "loramoe.yaml"}) {
    const AdapterConfig adapter = load_preset(file).adapter();
    EXPECT_EQ(adapter.router().gate(), RouterConfig::dense_softmax) << file;
    EXPECT_EQ(adapter.targets().q_proj(), TargetsConfig::frozen) << file;
    EXPECT_EQ(adapter.targets().down_proj(), TargetsConfig::experts) << file;
    EXPECT_EQ(adapter.shared_a(), file == std::string("hydralora.yaml")) << file;
    EXPECT_EQ(adapter.router().localized_balance().coef() > 0, !adapter.shared_a()) << file;
  }
}

TEST(Presets, AdaMoleHasAThresholdOnTheAttention) {
  const AdapterConfig adapter = load_preset("adamole.yaml").adapter();
  EXPECT_EQ(adapter.router().gate(), RouterConfig::threshold);
  EXPECT_EQ(adapter.targets().q_proj(), TargetsConfig::experts);
  EXPECT_EQ(adapter.targets().down_proj(), TargetsConfig::frozen);
}

TEST(Presets, DemoNeedsNothingBesides) {
  const RunConfig config = load_config({{"configs/medqwen3-multitask.yaml"}, {}}).config;
  EXPECT_EQ(config.adapter().num_experts(), 4u);
  EXPECT_EQ(config.data().eval(0).path(), "tests/assets/data/multitask/dev.jsonl");
}

}  // namespace
}  // namespace molora
