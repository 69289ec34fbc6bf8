#include "plan/work_plan.h"

#include <gtest/gtest.h>

#include "support/plan_shapes.h"

namespace molora {
namespace {

using testing::hand_input;
using testing::qwen_input;

const MeshShape kMesh = mesh_shape(4, 2, 2);

// Two floating point operations a pair, three passes, two layers.
constexpr double kTimes = 2 * 3 * 2;

double flops(const PlanInput& input, LinearGroup group, ExchangeMode mode) {
  return adapter_work(input, group, mode).flops;
}

TEST(AdapterWork, RepeatsTheBottleneckOfAColumnOnEveryTensorRank) {
  const PlanInput input = hand_input(kMesh);
  // 10 tokens: A 8 -> 8, B 8 -> 6, router 8 -> 4.
  EXPECT_EQ(flops(input, LinearGroup::kGateUp, ExchangeMode::kReplicate),
            2 * (10 * 8 * 8 + 10 * 8 * 6 + 10 * 8 * 4) * kTimes);
  EXPECT_EQ(flops(input, LinearGroup::kGateUp, ExchangeMode::kGather),
            flops(input, LinearGroup::kGateUp, ExchangeMode::kReplicate));
  EXPECT_EQ(flops(input, LinearGroup::kDown, ExchangeMode::kReplicate),
            (10 * 6 * 8 + 10 * 8 * 8 + 10 * 6 * 4) * kTimes);
}

TEST(AdapterWork, SequenceParallelismSplitsTheBottleneckByTokens) {
  const PlanInput input = hand_input(kMesh, {"parallel.sequence_parallel=true"});
  EXPECT_EQ(flops(input, LinearGroup::kGateUp, ExchangeMode::kReplicate),
            2 * (5 * 8 * 8 + 10 * 8 * 6 + 5 * 8 * 4) * kTimes);
}

TEST(AdapterWork, RankSplitsItByExperts) {
  const PlanInput input = hand_input(kMesh);
  EXPECT_EQ(flops(input, LinearGroup::kGateUp, ExchangeMode::kRank),
            2 * (10 * 8 * 4 + 10 * 8 * 6 + 10 * 8 * 4) * kTimes);
  EXPECT_EQ(flops(input, LinearGroup::kDown, ExchangeMode::kRank),
            (10 * 6 * 8 + 10 * 4 * 8 + 10 * 6 * 4) * kTimes);
}

TEST(AdapterWork, TokensComputeEachTokenOnceForEveryRankOfItsExperts) {
  // A slice of 5 tokens, 5/3 ranks each: 25/3 rows in and out, two experts here.
  const double rows = 25.0 / 3;
  EXPECT_NEAR(flops(hand_input(kMesh), LinearGroup::kDown, ExchangeMode::kTokens),
              (rows * 12 * 4 + rows * 4 * 8 + 5 * 12 * 4) * kTimes, 1e-9);
  // One expert-parallel rank: all experts for the slice.
  EXPECT_EQ(flops(hand_input(mesh_shape(4, 2, 1)), LinearGroup::kDown, ExchangeMode::kTokens),
            (5 * 12 * 8 + 5 * 8 * 8 + 5 * 12 * 4) * kTimes);
}

TEST(AdapterWork, OfPlainLoraDoesNotDependOnTheMode) {
  const PlanInput input = hand_input(kMesh);
  const double expected = (10 * 8 * 2 + 10 * 2 * 4 + 2 * (10 * 8 * 2 + 10 * 2 * 2)) * kTimes;
  for (const ExchangeMode mode : kExchangeModes) {
    EXPECT_EQ(flops(input, LinearGroup::kQkv, mode), expected);
  }
}

TEST(AdapterWork, RunsForwardTwiceWhenLayersAreRecomputed) {
  const double once = flops(hand_input(kMesh), LinearGroup::kDown, ExchangeMode::kReplicate);
  const PlanInput again = hand_input(kMesh, {"train.activation_checkpointing=full"});
  EXPECT_EQ(flops(again, LinearGroup::kDown, ExchangeMode::kReplicate), once / 3 * 4);
}

TEST(AdapterWork, MovesWhatTheExchangeMovesInMemory) {
  const PlanInput input = hand_input(kMesh);
  const auto memory = [&](ExchangeMode mode) {
    return adapter_work(input, LinearGroup::kDown, mode).memory_bytes;
  };
  // Replicated: activations 10 tokens x (6 + 2 * 8) x 4 bytes x 3 passes, parameters used
  // (A 48, B 64, router 24 + 4) x (3 * 4 + 5 * 4) bytes; two layers.
  EXPECT_EQ(memory(ExchangeMode::kReplicate), 2 * (10 * 22 * 4 * 3 + 140 * 32));
  // Gathered: half of the 8 x 14 values are fetched, written and read forward and backward; the
  // others of both experts that this rank owns are whole.
  const double fetched = 4 * 14;
  const double held = 4 * (12 + 8) + 24 + 4;
  EXPECT_EQ(memory(ExchangeMode::kGather),
            2 * (10 * 22 * 4 * 3 + fetched * (2 * 4 + 2 * 4) + (fetched + held) * 32));
  // Tokens: 25/3 rows of 12 values in and 8 out, moved four times in each direction.
  const double rows = 25.0 / 3;
  EXPECT_NEAR(
      memory(ExchangeMode::kTokens),
      2 * (rows * (12 + 16) * 4 * 3 + 4 * rows * 20 * 4 * 2 + (4 * (12 + 8) + 4 * 12 + 4) * 32),
      1e-9);
}

TEST(BaseWork, IsTheKnownFigureForAFrozenBase) {
  // Forward and backward through 7.1 billion weights of matrix products, and causal attention over
  // 4096 tokens: 31.6 GFLOP a token; a little less for the input of the first layer.
  const PlanInput input = qwen_input(mesh_shape(1, 1, 1), 4096);
  const double first_layer = 2.0 * 3 * 4096 * 4096;
  EXPECT_NEAR(base_work(input).flops / 4096,
              4 * 7.098335232e9 + 6.0 * 4096 * 4096 * 32 - first_layer, 1);
  EXPECT_NEAR(base_work(input).flops / 4096, 31.6e9, 0.2e9);
  EXPECT_NEAR(base_work(qwen_input(mesh_shape(4, 4, 1), 4096)).flops * 4, base_work(input).flops,
              4096);
}

TEST(BaseWork, SeesOnlyTheAttentionWindow) {
  PlanInput input = hand_input(mesh_shape(1, 1, 1));
  ASSERT_EQ(input.row_tokens, 20);
  const double full = base_work(input).flops;
  input.architecture.attention_window = {10, 0};
  // 7.5 instead of 10 tokens on average, 4 flops x 8 values, three passes, 20 tokens.
  EXPECT_EQ(full - base_work(input).flops, 20 * 2.5 * 4 * 8 * 3);
  input.architecture.attention_window = {20, 0};
  EXPECT_EQ(base_work(input).flops, full);
}

}  // namespace
}  // namespace molora
