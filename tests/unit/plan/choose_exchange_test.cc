#include "plan/choose_exchange.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/layout.h"
#include "support/plan_shapes.h"

namespace molora {
namespace {

using testing::config_from;
using testing::hand_input;
using ::testing::HasSubstr;
using testing::qwen_input;
using ::testing::StartsWith;

constexpr auto kDown = static_cast<size_t>(LinearGroup::kDown);
constexpr auto kGateUp = static_cast<size_t>(LinearGroup::kGateUp);

// Only bytes on links count.
LinkSpeeds slow_links() { return {1e30, 1e30, 1, 0}; }

ChoiceRequest request(const std::vector<std::string>& overrides = {},
                      const LinkSpeeds& speeds = LinkSpeeds::nvlink()) {
  const RunConfig config = config_from("", overrides);
  return {.asked = asked_modes(config.parallel(), config.adapter()), .speeds = speeds};
}

// One expert on each of 8 ranks, down_proj alone, fp32.
PlanInput spread(int64_t rank_tokens) {
  return qwen_input(
      mesh_shape(8, 1, 8), rank_tokens,
      {"model.precision=fp32", "adapter.targets.gate_proj=lora", "adapter.targets.up_proj=lora"});
}

double seconds(const PlanInput& input, ExchangeMode mode) {
  return group_cost(input, LinearGroup::kDown, mode, slow_links()).time.total();
}

TEST(CostModel, TokensAndGatherBreakEvenAtErOverK) {
  // E r / k = 64; gates and counts take a little of it.
  EXPECT_NEAR(break_even_tokens(spread(1), LinearGroup::kDown), 64, 0.1);
  EXPECT_LT(seconds(spread(63), ExchangeMode::kTokens), seconds(spread(63), ExchangeMode::kGather));
  EXPECT_GT(seconds(spread(65), ExchangeMode::kTokens), seconds(spread(65), ExchangeMode::kGather));
  const PlanInput many = qwen_input(
      mesh_shape(64, 1, 64), 1,
      {"model.precision=fp32", "adapter.targets.gate_proj=lora", "adapter.targets.up_proj=lora",
       "adapter.num_experts=64", "adapter.lora_rank=64"});
  EXPECT_NEAR(break_even_tokens(many, LinearGroup::kDown), 2048, 4);
}

TEST(CostModel, ThereIsNoBreakEvenWithoutSharedExperts) {
  EXPECT_EQ(break_even_tokens(qwen_input(mesh_shape(8, 8, 1), 64), LinearGroup::kDown), 0);
  EXPECT_EQ(break_even_tokens(spread(64), LinearGroup::kGateUp), 0);
}

TEST(CostModel, AddsUpArithmeticMemoryLinksAndLatency) {
  const PlanInput input = hand_input(mesh_shape(4, 2, 2));
  const LinkSpeeds speeds{10, 20, 5, 3};
  const GroupCost cost = group_cost(input, LinearGroup::kDown, ExchangeMode::kRank, speeds);
  const auto steps = static_cast<double>(input.micro_steps);
  const Work work = adapter_work(input, LinearGroup::kDown, ExchangeMode::kRank);
  EXPECT_EQ(cost.step_flops, steps * work.flops);
  EXPECT_EQ(cost.time.arithmetic, steps * work.flops / 10);
  // Moments are shared out over all ranks or dp: 4 biases, and A, B and router of 48 + 32 + 24.
  EXPECT_EQ(cost.time.memory, (steps * work.memory_bytes + 2 * (4.0 / 4 + 104.0 / 2) * 7 * 4) / 20);
  const auto micro_step = group_traffic(input, LinearGroup::kDown, ExchangeMode::kRank);
  const auto once = group_step_traffic(input, LinearGroup::kDown, ExchangeMode::kRank);
  EXPECT_EQ(cost.step_bytes, steps * bytes_sent(micro_step) + bytes_sent(once));
  EXPECT_DOUBLE_EQ(cost.time.links, cost.step_bytes / 4 / 5);
  EXPECT_EQ(cost.time.latency, (steps * calls_made(micro_step) + calls_made(once)) * 3);
  EXPECT_EQ(cost.forward_bytes, bytes_sent(micro_step, {.pass = Pass::kForward}));
  EXPECT_EQ(cost.time.total(),
            cost.time.arithmetic + cost.time.memory + cost.time.links + cost.time.latency);
  const StepTime base = base_time(input, speeds);
  EXPECT_DOUBLE_EQ(base.arithmetic, steps * base_work(input).flops / 10);
  EXPECT_DOUBLE_EQ(base.links, steps * bytes_sent(base_traffic(input)) / 4 / 5);
}

TEST(ChooseExchange, TakesWhatIsAskedFor) {
  const PlanInput input = qwen_input(mesh_shape(8, 2, 8), 4096);
  const ExchangeChoice choice = choose_exchange(
      input, request({"parallel.exchange=tokens", "parallel.exchange_by_group.down=rank"}));
  EXPECT_EQ(choice.modes.of(LinearGroup::kGateUp), ExchangeMode::kTokens);
  EXPECT_EQ(choice.modes.of(LinearGroup::kDown), ExchangeMode::kRank);
  EXPECT_EQ(choice.reasons[kGateUp], "as the configuration asks");
}

TEST(ChooseExchange, ReplicatesWhatHasNoExperts) {
  const PlanInput input = qwen_input(mesh_shape(8, 2, 8), 4096, {"adapter.targets.o_proj=frozen"});
  const ExchangeChoice choice = choose_exchange(input, request());
  EXPECT_EQ(choice.modes.of(LinearGroup::kQkv), ExchangeMode::kReplicate);
  EXPECT_EQ(choice.reasons[0], "plain LoRA is always replicated");
  EXPECT_EQ(choice.reasons[1], "frozen, nothing to place");
}

TEST(ChooseExchange, HasNothingToChooseOnOneRank) {
  const ExchangeChoice choice = choose_exchange(qwen_input(mesh_shape(1, 1, 1), 64), request());
  EXPECT_EQ(choice.modes.of(LinearGroup::kDown), ExchangeMode::kReplicate);
  EXPECT_EQ(choice.reasons[kDown],
            "nothing else to choose: rank: tensor_parallel is 1; gather: expert_parallel is 1; "
            "tokens: expert_parallel is 1");
}

TEST(ChooseExchange, LeavesOutWhatCannotBeSharedOut) {
  const PlanInput input = qwen_input(mesh_shape(12, 4, 3), 64, {"adapter.num_experts=6"});
  EXPECT_EQ(mode_obstacle(input, LinearGroup::kDown, ExchangeMode::kRank),
            "6 experts cannot be split in 4");
  EXPECT_EQ(mode_obstacle(input, LinearGroup::kDown, ExchangeMode::kGather), "");
  EXPECT_EQ(mode_obstacle(input, LinearGroup::kDown, ExchangeMode::kReplicate), "");
  for (const LinkSpeeds& speeds : {LinkSpeeds::cpu(), LinkSpeeds::nvlink(), slow_links()}) {
    EXPECT_NE(choose_exchange(input, request({}, speeds)).modes.of(LinearGroup::kDown),
              ExchangeMode::kRank);
  }
}

TEST(ChooseExchange, ExpertsOfWholeMlpsAreReplicatedOrGathered) {
  const PlanInput input = qwen_input(mesh_shape(8, 2, 4), 64, {"adapter.router.scope=block"});
  for (const LinearGroup group : {LinearGroup::kGateUp, LinearGroup::kDown}) {
    for (const ExchangeMode mode : {ExchangeMode::kTokens, ExchangeMode::kRank}) {
      EXPECT_EQ(mode_obstacle(input, group, mode),
                "experts that are whole MLPs (adapter.router.scope: block) are not exchanged so");
    }
    EXPECT_EQ(mode_obstacle(input, group, ExchangeMode::kGather), "");
    const ExchangeMode chosen = choose_exchange(input, request()).modes.of(group);
    EXPECT_TRUE(chosen == ExchangeMode::kReplicate || chosen == ExchangeMode::kGather);
  }
}

TEST(ChooseExchange, IsTheFastestAndSaysSo) {
  for (const int64_t rank_tokens : {4, 64, 4096}) {
    const PlanInput input = qwen_input(mesh_shape(8, 2, 4), rank_tokens);
    for (const LinkSpeeds& speeds : {LinkSpeeds::cpu(), LinkSpeeds::nvlink(), slow_links()}) {
      const ExchangeChoice choice = choose_exchange(input, request({}, speeds));
      const ExchangeMode chosen = choice.modes.of(LinearGroup::kDown);
      const auto time = [&](ExchangeMode mode) {
        return group_cost(input, LinearGroup::kDown, mode, speeds).time.total();
      };
      for (const ExchangeMode mode : kExchangeModes) EXPECT_LE(time(chosen), time(mode));
      EXPECT_THAT(choice.reasons[kDown], StartsWith("fastest: "));
      EXPECT_THAT(choice.reasons[kDown], HasSubstr(" a step, against "));
    }
  }
}

TEST(ChooseExchange, FollowsTheBytesWhereTheyDecide) {
  // Replicated experts cost one sum of gradients a step; a step of one micro-step with few tokens
  // moves less by sending them, as long as they are fewer than the experts are wide.
  const std::vector<std::string> one_micro_step = {
      "model.precision=fp32", "adapter.targets.gate_proj=lora", "adapter.targets.up_proj=lora",
      "train.global_batch_size=8"};
  const auto mode = [&](int64_t rank_tokens) {
    const PlanInput input = qwen_input(mesh_shape(8, 1, 8), rank_tokens, one_micro_step);
    return choose_exchange(input, request(one_micro_step, slow_links()))
        .modes.of(LinearGroup::kDown);
  };
  EXPECT_EQ(mode(8), ExchangeMode::kTokens);
  EXPECT_EQ(mode(4096), ExchangeMode::kReplicate);
}

TEST(ChooseExchange, KeepsTheMemoryLimitWhenItCan) {
  // 64 experts of rank 64: 96 GiB of state replicated over 32 layers.
  const std::vector<std::string> large = {"adapter.num_experts=64", "adapter.lora_rank=64"};
  const PlanInput input = qwen_input(mesh_shape(8, 1, 8), 4096, large);
  ChoiceRequest limited = request(large);
  const ExchangeChoice free = choose_exchange(input, limited);
  limited.memory_limit = 48.0 * (1 << 30);
  const ExchangeChoice kept = choose_exchange(input, limited);
  EXPECT_GT(memory_plan(input, free.modes).total(), limited.memory_limit);
  EXPECT_LE(memory_plan(input, kept.modes).total(), limited.memory_limit);
  EXPECT_THAT(kept.reasons[kGateUp], StartsWith("fastest that keeps the memory limit of 48 GiB: "));
  limited.memory_limit = 1.0 * (1 << 30);
  const ExchangeChoice least = choose_exchange(input, limited);
  EXPECT_THAT(least.reasons[kGateUp],
              StartsWith("least memory, as nothing keeps the memory limit of 1 GiB: "));
  EXPECT_LE(memory_plan(input, least.modes).total(), memory_plan(input, kept.modes).total());
}

}  // namespace
}  // namespace molora
