// Which way experts are computed: the choice, its reasons and its measurement.
#include "model/expert_compute.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/tiny_model.h"

namespace molora {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

// Experts on gate, up and down of the tiny model (hidden 16, MLP 24).
AdapterConfig experts(uint32_t num_experts, uint32_t k) {
  AdapterConfig config;
  config.set_num_experts(num_experts);
  config.set_experts_per_token(k);
  config.set_lora_rank(4);
  return config;
}

AdapterSet adapters(const AdapterConfig& config, const AdapterPlacement& placement = {}) {
  return AdapterSet(parse_architecture(testing::tiny_config().dump(), "config.json", {}), config, 3,
                    at::kFloat, placement);
}

ExpertChoiceRequest request(AdapterConfig::ExpertCompute asked) {
  return {.asked = asked, .tokens = 64, .seconds = 0.01};
}

TEST(ExpertWays, AreReadAsTheyWereWritten) {
  ExpertWays ways;
  ways.of(LinearKind::kUp) = ExpertWay::kGrouped;
  const std::string text = expert_ways_text(ways, {LinearKind::kUp, LinearKind::kDown});
  EXPECT_EQ(text, "up_proj grouped, down_proj dense");
  EXPECT_EQ(parse_expert_ways(text), ways);
  EXPECT_EQ(parse_expert_ways(""), ExpertWays{});
}

TEST(ExpertWays, OfAnotherTextAreNothing) {
  EXPECT_EQ(parse_expert_ways("up_proj sorted"), std::nullopt);
  EXPECT_EQ(parse_expert_ways("up_proj grouped,down_proj dense"), std::nullopt);
}

TEST(ExpertChoice, TakesWhatIsAskedFor) {
  const AdapterSet set = adapters(experts(8, 2));
  const ExpertChoice choice = choose_expert_ways(set, request(AdapterConfig::grouped));
  EXPECT_EQ(choice.ways.of(LinearKind::kGate), ExpertWay::kGrouped);
  EXPECT_EQ(choice.ways.of(LinearKind::kDown), ExpertWay::kGrouped);
  EXPECT_EQ(choice.ways.of(LinearKind::kQ), ExpertWay::kDense);  // plain LoRA
  EXPECT_THAT(choice.reasons, ElementsAre("experts of gate_proj, up_proj: grouped (as asked for)",
                                          "experts of down_proj: grouped (as asked for)"));
  EXPECT_EQ(choose_expert_ways(set, request(AdapterConfig::dense)).ways, ExpertWays{});
}

TEST(ExpertChoice, IsThatOfTheCheckpointUnlessAnotherIsAskedFor) {
  const AdapterSet set = adapters(experts(8, 2));
  ExpertChoiceRequest by = request(AdapterConfig::auto_);
  by.saved = ExpertWays{};
  by.saved->of(LinearKind::kDown) = ExpertWay::kGrouped;
  const ExpertChoice choice = choose_expert_ways(set, by);
  EXPECT_EQ(choice.ways, *by.saved);
  EXPECT_THAT(choice.reasons,
              ElementsAre("experts of gate_proj, up_proj: dense (as the checkpoint has it)",
                          "experts of down_proj: grouped (as the checkpoint has it)"));
  by.asked = AdapterConfig::dense;
  EXPECT_EQ(choose_expert_ways(set, by).ways, ExpertWays{});
}

TEST(ExpertChoice, IsMeasuredOtherwiseAndSaysTheFigures) {
  const ExpertChoice choice =
      choose_expert_ways(adapters(experts(8, 2)), request(AdapterConfig::auto_));
  EXPECT_THAT(choice.reasons,
              ElementsAre(MatchesRegex("experts of gate_proj, up_proj: (dense|grouped) "
                                       "\\(E=8: [0-9.]+ ms against [0-9.]+ ms\\)"),
                          StartsWith("experts of down_proj: ")));
}

TEST(ExpertChoice, IsDenseWhereEveryTokenUsesEveryExpert) {
  const AdapterSet set = adapters(experts(4, 4));
  const ExpertChoice choice = choose_expert_ways(set, request(AdapterConfig::grouped));
  EXPECT_EQ(choice.ways, ExpertWays{});
  EXPECT_THAT(choice.reasons.front(), HasSubstr("dense (every token uses every expert)"));
}

TEST(ExpertChoice, IsDenseOnAGpu) {
  ExpertChoiceRequest by = request(AdapterConfig::auto_);
  by.device = at::Device(at::kCUDA, 0);
  const ExpertChoice choice = choose_expert_ways(adapters(experts(8, 2)), by);
  EXPECT_EQ(choice.ways, ExpertWays{});
  EXPECT_THAT(choice.reasons.front(),
              HasSubstr("dense (on GPUs grouping would make the host wait)"));
}

TEST(ExpertChoice, RefusesGroupsOnAGpu) {
  ExpertChoiceRequest by = request(AdapterConfig::grouped);
  by.device = at::Device(at::kCUDA, 0);
  EXPECT_THROW_WITH(choose_expert_ways(adapters(experts(8, 2)), by), ConfigError,
                    "adapter.expert_compute is grouped, which runs on CPUs only; with device.kind "
                    "cuda take auto or dense");
}

TEST(ExpertChoice, HasNothingToSayWithoutExperts) {
  const ExpertChoice choice =
      choose_expert_ways(adapters(experts(1, 1)), request(AdapterConfig::auto_));
  EXPECT_EQ(choice.ways, ExpertWays{});
  EXPECT_THAT(choice.reasons, IsEmpty());
}

TEST(ExpertChoice, IsTheShorterTimeAndDenseWhenEqual) {
  EXPECT_EQ(faster_way({.dense_seconds = 2, .grouped_seconds = 1}), ExpertWay::kGrouped);
  EXPECT_EQ(faster_way({.dense_seconds = 1, .grouped_seconds = 2}), ExpertWay::kDense);
  EXPECT_EQ(faster_way({.dense_seconds = 1, .grouped_seconds = 1}), ExpertWay::kDense);
}

TEST(ExpertShape, IsThatOfOneRank) {
  const AdapterSet whole = adapters(experts(8, 2));
  EXPECT_EQ(expert_shape(*whole.find(0, LinearKind::kGate), 64, at::kFloat),
            (ExpertShape{.tokens = 64,
                         .inputs = 16,
                         .outputs = 24,
                         .experts = 8,
                         .per_token = 2,
                         .lora_rank = 4,
                         .type = at::kFloat}));
  // Rows that arrive for the experts of one of four ranks use one of two.
  const AdapterSet held =
      adapters(experts(8, 2), {mesh_shape(4, 1, 4), 1, all_groups(ExchangeMode::kTokens)});
  const ExpertShape shape = expert_shape(*held.find(0, LinearKind::kGate), 64, at::kFloat);
  EXPECT_EQ(shape.experts, 2);
  EXPECT_EQ(shape.per_token, 1);
}

TEST(ExpertTimes, AreThoseOfBothWaysInEachType) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    const ExpertTimes times = measure_experts({.tokens = 40,
                                               .inputs = 16,
                                               .outputs = 24,
                                               .experts = 8,
                                               .per_token = 2,
                                               .lora_rank = 4,
                                               .type = type},
                                              0.01);
    EXPECT_GT(times.dense_seconds, 0);
    EXPECT_GT(times.grouped_seconds, 0);
  }
}

}  // namespace
}  // namespace molora
