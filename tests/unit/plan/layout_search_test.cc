#include "plan/layout_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "config/hardware.h"
#include "support/expect_throw.h"
#include "support/plan_shapes.h"

namespace molora {
namespace {

using testing::config_from;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

MachineModel h100(double memory_gib = 0) {
  return {find_hardware({.gpu = "h100",
                         .links = "nvlink+ib400",
                         .memory_bytes = memory_gib * (1 << 30),
                         .folders = {"configs/hardware"}}),
          ModelConfig::bf16};
}

SearchRequest request(int gpus, const std::vector<std::string>& overrides = {}) {
  std::vector<std::string> all = {"model.precision=bf16", "data.max_length=4096"};
  all.insert(all.end(), overrides.begin(), overrides.end());
  return {.config = config_from("", all), .architecture = testing::qwen_7b(), .num_gpus = gpus};
}

SearchRequest of_72b(int gpus, const std::vector<std::string>& overrides = {}) {
  SearchRequest of = request(gpus, overrides);
  of.architecture = read_architecture("configs/shapes/qwen2.5-72b", {});
  return of;
}

TEST(LayoutSearch, FindsTheFastestThatFits) {
  const SearchResult result = search_layouts(request(8), h100());
  ASSERT_EQ(result.fitting.size(), 4u);
  for (const LayoutForecast& layout : result.fitting) {
    EXPECT_LE(layout.memory.total(), 8.48e10);
    EXPECT_LE(layout.tokens_per_second, result.fitting.front().tokens_per_second);
    EXPECT_EQ(layout.input.mesh.world(), 8);
  }
  EXPECT_FALSE(result.leanest);
  EXPECT_GT(result.num_tried, 50);
}

TEST(LayoutSearch, IsNoSlowerThanAnyLayoutThatTheConfigurationCouldSpell) {
  const double best = search_layouts(request(8), h100()).fitting.front().tokens_per_second;
  for (const char* tp : {"1", "2", "4", "8"}) {
    for (const char* exchange : {"auto", "replicate", "rank"}) {
      for (const char* rows : {"1", "2", "4"}) {
        const auto layout =
            forecast_as_written(request(8, {std::string("parallel.tensor_parallel=") + tp,
                                            std::string("parallel.exchange=") + exchange,
                                            std::string("train.micro_batch_size=") + rows}),
                                h100());
        if (!layout || !layout->fits) continue;
        EXPECT_LE(layout->tokens_per_second, best * (1 + 1e-9)) << tp << exchange << rows;
      }
    }
  }
}

TEST(LayoutSearch, IsWrittenAsYamlThatSpellsTheLayout) {
  const LayoutForecast best = search_layouts(of_72b(16), h100()).fitting.front();
  const RunConfig config =
      testing::config_from(layout_yaml(best), {"model.precision=bf16", "data.max_length=4096"});
  SearchRequest written = of_72b(16);
  written.config = config;
  const auto again = forecast_as_written(written, h100());
  ASSERT_TRUE(again);
  EXPECT_EQ(again->input.mesh, best.input.mesh);
  EXPECT_EQ(again->modes.by_group, best.modes.by_group);
  EXPECT_DOUBLE_EQ(again->tokens_per_second, best.tokens_per_second);
  EXPECT_DOUBLE_EQ(again->memory.total(), best.memory.total());
}

TEST(LayoutSearch, DependsOnNothingButItsArguments) {
  EXPECT_EQ(layout_yaml(search_layouts(of_72b(64), h100()).fitting.front()),
            layout_yaml(search_layouts(of_72b(64), h100()).fitting.front()));
}

TEST(LayoutSearch, SplitsWhatDoesNotFitOnOneGpu) {
  const LayoutForecast best = search_layouts(of_72b(8), h100()).fitting.front();
  EXPECT_GE(best.input.mesh.tp, 4) << "145 GB of base";
}

TEST(LayoutSearch, SaysWhatWouldFitWhenNothingDoes) {
  const SearchResult one = search_layouts(of_72b(1), h100());
  EXPECT_TRUE(one.fitting.empty());
  ASSERT_TRUE(one.leanest);
  EXPECT_GT(one.leanest->memory.total(), 8.48e10);
  EXPECT_THAT(remedies(of_72b(1), h100()), Contains("--gpus 4"));
  EXPECT_THAT(remedies(of_72b(1), h100()), Contains("model.quantization: nf4"));
  EXPECT_TRUE(remedies(of_72b(1), h100(0.5)).empty());
}

TEST(LayoutSearch, NamesChangesThatMakeTheWrittenLayoutFit) {
  const SearchRequest large = request(8, {"train.micro_batch_size=16"});
  ASSERT_FALSE(forecast_as_written(large, h100())->fits);
  const auto changes = changes_that_fit(large, h100());
  EXPECT_THAT(changes, Contains(HasSubstr("train.micro_batch_size: ")));
  EXPECT_THAT(changes, Contains("train.activation_checkpointing: full"));
  for (const uint32_t rows : {1U, 2U, 4U, 8U}) {
    SearchRequest smaller = large;
    smaller.config.mutable_train()->set_micro_batch_size(rows);
    const bool is_named =
        std::find(changes.begin(), changes.end(),
                  "train.micro_batch_size: " + std::to_string(rows)) != changes.end();
    if (is_named) {
      EXPECT_TRUE(forecast_as_written(smaller, h100())->fits);
    }
  }
}

TEST(LayoutSearch, NamesTheTermThatALayoutLosesBy) {
  const auto best = *forecast_as_written(request(8), h100());
  const auto split = *forecast_as_written(request(8, {"parallel.tensor_parallel=8"}), h100());
  EXPECT_THAT(reason_to_lose(best, split), MatchesRegex("adapters .* a step, against .*"));
  const auto again =
      *forecast_as_written(request(8, {"train.activation_checkpointing=full"}), h100());
  EXPECT_THAT(reason_to_lose(best, again), HasSubstr("recomputation "));
  EXPECT_EQ(reason_to_lose(best, best), "as fast, and no simpler");
}

TEST(LayoutSearch, KeepsTheExchangeThatTheConfigurationAsksFor) {
  for (const LayoutForecast& layout :
       search_layouts(request(8, {"parallel.exchange=tokens"}), h100()).fitting) {
    EXPECT_EQ(layout.modes.of(LinearGroup::kDown), ExchangeMode::kTokens);
  }
}

TEST(LayoutSearch, RefusesAModelThatCannotBeLaidOut) {
  SearchRequest odd = request(3, {"parallel.exchange=rank", "adapter.num_experts=7"});
  odd.architecture.num_heads = 30;
  odd.architecture.num_kv_heads = 30;
  EXPECT_NO_THROW(search_layouts(odd, h100()));
  EXPECT_FALSE(forecast_as_written(request(8, {"parallel.tensor_parallel=3"}), h100()));
}

}  // namespace
}  // namespace molora
