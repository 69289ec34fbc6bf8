#include "worker/plan_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/plan_shapes.h"

namespace molora {
namespace {

using testing::config_from;
using ::testing::HasSubstr;
using ::testing::Not;

PlanReport report(const std::vector<std::string>& overrides, PlanArguments arguments) {
  std::vector<std::string> all = {"model.precision=bf16", "data.max_length=4096"};
  all.insert(all.end(), overrides.begin(), overrides.end());
  return make_plan_report(config_from("", all), testing::qwen_7b(), arguments);
}

PlanReport on_eight(const std::vector<std::string>& overrides = {}) {
  std::vector<std::string> all = {"parallel.tensor_parallel=2", "parallel.expert_parallel=4"};
  all.insert(all.end(), overrides.begin(), overrides.end());
  return report(all, {.num_ranks = 8, .speeds = PlanSpeeds::kNvlink});
}

TEST(PlanReport, ChoosesOneModeOfEachGroup) {
  const PlanReport plan = on_eight();
  ASSERT_EQ(plan.groups.size(), 4u);
  for (const PlannedGroup& group : plan.groups) {
    EXPECT_EQ(group.modes.size(), group.has_experts ? 4u : 1u);
    EXPECT_EQ(std::count_if(group.modes.begin(), group.modes.end(),
                            [](const PlannedMode& mode) { return mode.is_chosen; }),
              1);
  }
}

TEST(PlanReport, SharesOfTheChosenModesAreThoseOfTheAdapters) {
  const PlanReport plan = on_eight();
  double sum = 0;
  for (const PlannedGroup& group : plan.groups) {
    for (const PlannedMode& mode : group.modes) {
      EXPECT_GT(mode.share, 0);
      EXPECT_LT(mode.share, 1);
      if (mode.is_chosen) sum += mode.share;
    }
  }
  EXPECT_NEAR(sum, plan.adapters.total() / (plan.adapters.total() + plan.base.total()), 1e-12);
}

TEST(PlanReport, CountsAllMicroStepsAndWhatIsDoneOnce) {
  const PlanReport plan = on_eight({"parallel.exchange=rank"});
  const ExchangeModes modes{{ExchangeMode::kReplicate, ExchangeMode::kReplicate,
                             ExchangeMode::kRank, ExchangeMode::kRank}};
  EXPECT_GT(plan.input.micro_steps, 1);
  EXPECT_DOUBLE_EQ(bytes_sent(plan.traffic),
                   static_cast<double>(plan.input.micro_steps) *
                           bytes_sent(micro_step_traffic(plan.input, modes)) +
                       bytes_sent(step_traffic(plan.input, modes)));
}

TEST(PlanText, NamesTheLayoutTheChoiceAndTheUnits) {
  const std::string text = plan_text(on_eight());
  EXPECT_THAT(text, HasSubstr("m on 8 ranks: dp4 x tp2, edp2 x ep4\n"));
  EXPECT_THAT(text, HasSubstr("a step: 8 micro-steps of 16,384 tokens on each data-parallel rank"));
  EXPECT_THAT(text, HasSubstr("(8 experts, 2 per token, lora_rank 16)\n"));
  EXPECT_THAT(text, HasSubstr("  qkv      * -"));
  EXPECT_THAT(text, HasSubstr("fastest: "));
  EXPECT_THAT(text, HasSubstr("  column input     tp "));
  EXPECT_THAT(text, HasSubstr("  sum over         all"));
  EXPECT_THAT(text, HasSubstr("  base                       7.19 GiB\n"));
  EXPECT_THAT(text, Not(HasSubstr("recompute")));
  EXPECT_THAT(text, Not(HasSubstr("gathered experts")));
  EXPECT_THAT(text, Not(HasSubstr("limit")));
  EXPECT_THAT(
      plan_text(on_eight({"train.activation_checkpointing=full", "parallel.exchange=gather"})),
      ::testing::AllOf(HasSubstr("recompute"), HasSubstr("gathered experts")));
}

TEST(PlanText, SaysWhyAModeIsLeftOut) {
  const std::string text = plan_text(report({}, {.num_ranks = 1}));
  EXPECT_THAT(text, HasSubstr("  down       rank       left out: tensor_parallel is 1\n"));
  EXPECT_THAT(text, HasSubstr("  down     * replicate "));
  EXPECT_THAT(text, HasSubstr("\ntraffic: none\n"));
}

TEST(PlanText, ComparesWithTheMemoryLimit) {
  EXPECT_THAT(plan_text(report({}, {.num_ranks = 1, .memory_gib = 80})),
              HasSubstr("  left of the limit  "));
  EXPECT_THAT(plan_text(report({}, {.num_ranks = 1, .memory_gib = 1})),
              HasSubstr("  over the limit by  "));
}

TEST(PlanJson, HasTheSameNumbers) {
  const PlanReport plan = on_eight();
  const nlohmann::json json = plan_json(plan);
  EXPECT_EQ(json["mesh"]["ranks"], 8);
  EXPECT_EQ(json["mesh"]["ep"], 4);
  EXPECT_EQ(json["rank_memory"]["total"], plan.memory.total());
  double bytes = 0;
  for (const auto& item : json["traffic_step"]) bytes += item["bytes"].get<double>();
  EXPECT_EQ(bytes, bytes_sent(plan.traffic));
  EXPECT_EQ(json["groups"]["down"]["modes"]["tokens"]["bytes_step"],
            plan.groups[3].modes[0].cost.step_bytes);
  EXPECT_EQ(json["groups"]["down"]["reason"], plan.groups[3].reason);
  EXPECT_EQ(plan_json(report({}, {.num_ranks = 1}))["groups"]["down"]["modes"]["rank"]["obstacle"],
            "tensor_parallel is 1");
}

}  // namespace
}  // namespace molora
