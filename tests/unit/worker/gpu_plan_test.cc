#include "worker/gpu_plan.h"

#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/plan_shapes.h"

namespace molora {
namespace {

using ::testing::AllOf;
using testing::config_from;
using ::testing::HasSubstr;
using ::testing::Not;

GpuPlan plan_for(int gpus, const std::vector<std::string>& overrides = {},
                 const std::string& link = "nvlink+ib400", double memory_gib = 0) {
  std::vector<std::string> all = {"model.precision=bf16", "data.max_length=4096"};
  all.insert(all.end(), overrides.begin(), overrides.end());
  return make_gpu_plan(
      config_from("", all), testing::qwen_7b(),
      {.num_gpus = gpus, .gpu = "h100", .link = link, .gpu_memory_gib = memory_gib});
}

TEST(GpuPlanText, SaysTheBestTheNextAndWhatToPaste) {
  const std::string text = gpu_plan_text(plan_for(64));
  EXPECT_THAT(text, HasSubstr("(7.72 B parameters) on 64 x NVIDIA H100 SXM5 80 GB\n"));
  EXPECT_THAT(text, HasSubstr("; nvlink in 8s, then ib400\n"));
  EXPECT_THAT(text, HasSubstr("\nbest: dp64 x tp1, "));
  EXPECT_THAT(text, HasSubstr(" tokens a second, "));
  EXPECT_THAT(text, HasSubstr("\nnext best"));
  EXPECT_THAT(text, HasSubstr(" a step, against "));
  EXPECT_THAT(text, HasSubstr("\nmemory of one rank at its fullest\n  base  "));
  EXPECT_THAT(text, HasSubstr("    activation: gate and up"));
  EXPECT_THAT(text, HasSubstr("\none step of one rank\n  base products  "));
  EXPECT_THAT(text, HasSubstr("\nto paste\nparallel:\n  tensor_parallel: 1\n"));
}

TEST(GpuPlanText, KeepsLinesShort) {
  std::istringstream lines(gpu_plan_text(plan_for(64)));
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
}

TEST(GpuPlanText, SaysWhatTheWrittenLayoutNeedsToFit) {
  const std::string text = gpu_plan_text(plan_for(8, {"train.micro_batch_size=16"}));
  EXPECT_THAT(text,
              HasSubstr("\nas written: dp8 x tp1, 16 rows, replicate\n  does not fit: needs "));
  EXPECT_THAT(text, HasSubstr("; any of these makes it fit:\n    train.micro_batch_size: "));
}

TEST(GpuPlanText, SaysWhatWouldFitWhenNothingDoes) {
  const std::string text = gpu_plan_text(plan_for(1, {}, "", 10));
  EXPECT_THAT(text, HasSubstr("\nnothing fits: the leanest layout ("));
  EXPECT_THAT(text, HasSubstr("  any of these would do:\n    "));
  EXPECT_THAT(text, HasSubstr("--gpus 4\n"));
  EXPECT_THAT(text, Not(HasSubstr("to paste")));
  EXPECT_THAT(gpu_plan_text(plan_for(1, {}, "", 0.5)),
              HasSubstr("  no quantised base and no number of GPUs up to 64 times as many"));
}

TEST(GpuPlanJson, HasTheSameNumbers) {
  const GpuPlan plan = plan_for(8);
  const nlohmann::json json = gpu_plan_json(plan);
  EXPECT_EQ(json["gpus"], 8);
  EXPECT_TRUE(json["fits"]);
  EXPECT_EQ(json["best"]["tokens_per_second"], plan.shown().tokens_per_second);
  EXPECT_EQ(json["best"]["memory"]["total"], plan.shown().memory.total());
  EXPECT_EQ(json["best"]["yaml"], layout_yaml(plan.shown()));
  EXPECT_EQ(json["next_best"].size(), plan.result.fitting.size() - 1);
  double seconds = 0;
  for (const auto& [name, value] : json["best"]["seconds"].items()) seconds += value.get<double>();
  EXPECT_NEAR(seconds, plan.shown().seconds.total(), 1e-9 * seconds);
  const nlohmann::json none = gpu_plan_json(plan_for(1, {}, "", 10));
  EXPECT_FALSE(none["fits"]);
  EXPECT_TRUE(none.contains("leanest"));
}

TEST(GpuPlan, RefusesWhatItDoesNotKnow) {
  EXPECT_THROW_WITH(
      make_gpu_plan(config_from("", {}), testing::qwen_7b(), {.num_gpus = 8, .gpu = "h1000"}),
      ConfigError, "known are a100-80g, b200, cpu, h100, h200, l40s");
  EXPECT_THROW_WITH(plan_for(64, {}, "nvlink"), ConfigError,
                    "say what lies between machines: --link nvlink+ib400");
}

// LoRA of a model of 8 billion parameters in bf16 on one H100, rows of 4096 tokens: published are
// about 12,500 to 14,000 tokens a second.
TEST(GpuPlan, IsPlausibleBesidePublishedSpeeds) {
  const GpuPlan plan = make_gpu_plan(
      config_from("", {"model.precision=bf16", "data.max_length=4096",
                       "adapter.targets.gate_proj=lora", "adapter.targets.up_proj=lora",
                       "adapter.targets.down_proj=lora", "adapter.lora_dropout=0"}),
      read_architecture("configs/shapes/llama-3-8b", {}), {.num_gpus = 1, .gpu = "h100"});
  EXPECT_GT(plan.shown().tokens_per_second, 10'000);
  EXPECT_LT(plan.shown().tokens_per_second, 16'000);
}

}  // namespace
}  // namespace molora
