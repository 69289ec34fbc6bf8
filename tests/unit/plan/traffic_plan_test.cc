// The formulas against numbers computed by hand, from the header's table.
#include "plan/traffic_plan.h"

#include <ostream>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/plan_shapes.h"

namespace molora {
namespace {

using testing::hand_input;
using testing::qwen_input;

constexpr auto kGather = CollectiveKind::kAllGather;
constexpr auto kToAll = CollectiveKind::kAllToAll;

// dp 2 x tp 2, edp 2 x ep 2.
const MeshShape kMesh = mesh_shape(4, 2, 2);
const std::vector<std::string> kSequence = {"parallel.sequence_parallel=true"};

struct ByKind {
  double to_all = 0;
  double gather = 0;
  bool operator==(const ByKind&) const = default;
};
void PrintTo(const ByKind& bytes, std::ostream* out) {
  *out << bytes.to_all << " to all, " << bytes.gather << " gathered";
}

ByKind sent(const std::vector<TrafficItem>& items, Purpose purpose, Pass pass) {
  return {bytes_sent(items, {.purpose = purpose, .pass = pass, .kind = kToAll}),
          bytes_sent(items, {.purpose = purpose, .pass = pass, .kind = kGather})};
}

TEST(BaseTraffic, SumsFullRowsWithoutSequenceParallelism) {
  const auto items = base_traffic(hand_input(kMesh));
  // T D b = 640. Nothing goes back through the input of the first layer.
  EXPECT_EQ(sent(items, Purpose::kColumnInput, Pass::kForward), (ByKind{0, 0}));
  EXPECT_EQ(sent(items, Purpose::kColumnInput, Pass::kBackward), (ByKind{3 * 640, 3 * 640}));
  EXPECT_EQ(sent(items, Purpose::kRowOutput, Pass::kForward), (ByKind{4 * 640, 4 * 640}));
  EXPECT_EQ(sent(items, Purpose::kRowOutput, Pass::kBackward), (ByKind{0, 0}));
  EXPECT_EQ(sent(items, Purpose::kEmbedding, Pass::kForward), (ByKind{640, 640}));
  EXPECT_EQ(sent(items, Purpose::kLoss, Pass::kForward), (ByKind{0, 3 * 6 * 4 * 2}));
  EXPECT_EQ(sent(items, Purpose::kLoss, Pass::kBackward), (ByKind{6 * 8 * 4, 6 * 8 * 4}));
  EXPECT_EQ(bytes_sent(items, {.axis = Axis::kTensor}), bytes_sent(items));
}

TEST(BaseTraffic, GathersAndScattersSlicesWithSequenceParallelism) {
  const auto items = base_traffic(hand_input(kMesh, kSequence));
  EXPECT_EQ(sent(items, Purpose::kColumnInput, Pass::kForward), (ByKind{0, 4 * 640}));
  EXPECT_EQ(sent(items, Purpose::kColumnInput, Pass::kBackward), (ByKind{3 * 640, 0}));
  EXPECT_EQ(sent(items, Purpose::kRowOutput, Pass::kForward), (ByKind{4 * 640, 0}));
  EXPECT_EQ(sent(items, Purpose::kRowOutput, Pass::kBackward), (ByKind{0, 4 * 640}));
  EXPECT_EQ(sent(items, Purpose::kEmbedding, Pass::kForward), (ByKind{640, 0}));
  EXPECT_EQ(sent(items, Purpose::kLoss, Pass::kForward), (ByKind{0, 3 * 6 * 4 * 2 + 192}));
  EXPECT_EQ(sent(items, Purpose::kLoss, Pass::kBackward), (ByKind{192, 0}));
}

TEST(BaseTraffic, IsNothingOnOneTensorRank) {
  EXPECT_EQ(bytes_sent(base_traffic(hand_input(mesh_shape(4, 1, 2)))), 0);
  EXPECT_EQ(calls_made(base_traffic(hand_input(mesh_shape(4, 1, 2)))), 0);
}

TEST(BaseTraffic, GoesBackOnlyToWhatIsTrained) {
  // Only the last linear of each layer: in the first layer nothing goes through qkv and gate_up.
  const std::vector<std::string> only_down = {
      "adapter.targets.q_proj=frozen",    "adapter.targets.k_proj=frozen",
      "adapter.targets.v_proj=frozen",    "adapter.targets.o_proj=frozen",
      "adapter.targets.gate_proj=frozen", "adapter.targets.up_proj=frozen",
      "parallel.sequence_parallel=true"};
  const auto items = base_traffic(hand_input(kMesh, only_down));
  EXPECT_EQ(sent(items, Purpose::kColumnInput, Pass::kBackward), (ByKind{2 * 640, 0}));
  EXPECT_EQ(sent(items, Purpose::kRowOutput, Pass::kBackward), (ByKind{0, 3 * 640}));
}

TEST(BaseTraffic, RunsForwardTwiceWhenLayersAreRecomputed) {
  const auto items = base_traffic(hand_input(kMesh, {"train.activation_checkpointing=full"}));
  EXPECT_EQ(sent(items, Purpose::kRowOutput, Pass::kRecompute), (ByKind{4 * 640, 4 * 640}));
  EXPECT_EQ(sent(items, Purpose::kEmbedding, Pass::kRecompute), (ByKind{0, 0}));
  const auto experts = group_traffic(hand_input(kMesh, {"train.activation_checkpointing=full"}),
                                     LinearGroup::kGateUp, ExchangeMode::kGather);
  EXPECT_EQ(sent(experts, Purpose::kExpertWeights, Pass::kRecompute),
            sent(experts, Purpose::kExpertWeights, Pass::kForward));
}

TEST(AdapterTraffic, ReplicatedColumnsMoveOnlySlicesOfTheBottleneck) {
  EXPECT_EQ(
      bytes_sent(group_traffic(hand_input(kMesh), LinearGroup::kGateUp, ExchangeMode::kReplicate)),
      0);
  // T r b = 160 for each of q, k, v; four experts for gate and up; two layers.
  for (const auto mode : {ExchangeMode::kReplicate, ExchangeMode::kGather}) {
    const auto lora = group_traffic(hand_input(kMesh, kSequence), LinearGroup::kQkv, mode);
    EXPECT_EQ(sent(lora, Purpose::kBottleneck, Pass::kForward), (ByKind{0, 2 * 3 * 160}));
    EXPECT_EQ(sent(lora, Purpose::kBottleneck, Pass::kBackward), (ByKind{2 * 3 * 160, 0}));
    const auto experts = group_traffic(hand_input(kMesh, kSequence), LinearGroup::kGateUp, mode);
    EXPECT_EQ(sent(experts, Purpose::kBottleneck, Pass::kForward), (ByKind{0, 2 * 2 * 640}));
    EXPECT_EQ(sent(experts, Purpose::kBottleneck, Pass::kBackward), (ByKind{2 * 2 * 640, 0}));
  }
}

TEST(AdapterTraffic, RowsSumTheirLogits) {
  // T E w = 320, two layers.
  for (const auto mode : {ExchangeMode::kReplicate, ExchangeMode::kGather, ExchangeMode::kRank}) {
    const auto items = group_traffic(hand_input(kMesh), LinearGroup::kDown, mode);
    for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
      EXPECT_EQ(sent(items, Purpose::kRouterLogits, pass), (ByKind{640, 640}));
    }
  }
  const auto tokens = group_traffic(hand_input(kMesh), LinearGroup::kDown, ExchangeMode::kTokens);
  EXPECT_EQ(bytes_sent(tokens, {.purpose = Purpose::kRouterLogits}), 0);
  const auto lora = group_traffic(hand_input(kMesh), LinearGroup::kO, ExchangeMode::kReplicate);
  EXPECT_EQ(bytes_sent(lora), 0);
}

TEST(AdapterTraffic, RankMovesTheChosenRowsOfTheBottleneck) {
  // T k r b = 320.
  const auto column = group_traffic(hand_input(kMesh), LinearGroup::kGateUp, ExchangeMode::kRank);
  EXPECT_EQ(sent(column, Purpose::kBottleneck, Pass::kForward), (ByKind{0, 2 * 2 * 320}));
  EXPECT_EQ(sent(column, Purpose::kBottleneck, Pass::kBackward), (ByKind{2 * 2 * 320, 0}));
  const auto row = group_traffic(hand_input(kMesh), LinearGroup::kDown, ExchangeMode::kRank);
  EXPECT_EQ(sent(row, Purpose::kBottleneck, Pass::kForward), (ByKind{2 * 320, 0}));
  EXPECT_EQ(sent(row, Purpose::kBottleneck, Pass::kBackward), (ByKind{0, 2 * 320}));
}

TEST(AdapterTraffic, TokensTravelThereAndBack) {
  // 15 and 12 pairs in the two layers.
  const auto items =
      group_traffic(hand_input(kMesh), LinearGroup::kGateUp, ExchangeMode::kTokens, {15, 12});
  EXPECT_EQ(sent(items, Purpose::kTokenCounts, Pass::kForward), (ByKind{2 * 8 * 2 * 2, 0}));
  EXPECT_EQ(sent(items, Purpose::kTokenCounts, Pass::kBackward), (ByKind{0, 0}));
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    EXPECT_EQ(sent(items, Purpose::kDispatchRows, pass), (ByKind{27 * 8 * 4, 0}));
    EXPECT_EQ(sent(items, Purpose::kDispatchGates, pass), (ByKind{27 * 4 * 2 * 2, 0}));
    EXPECT_EQ(sent(items, Purpose::kCombineRows, pass), (ByKind{27 * (12 + 12) * 4, 0}));
    // T out b (t-1)/t = 480 for each linear and layer.
    EXPECT_EQ(sent(items, Purpose::kTokensReshape, pass), (ByKind{2 * 2 * 480, 0}));
  }
  EXPECT_EQ(bytes_sent(items, {.axis = Axis::kTensor}), 2 * 2 * 2 * 480);
  EXPECT_EQ(bytes_sent(items, {.axis = Axis::kExpert}), bytes_sent(items) - 2 * 2 * 2 * 480);
}

TEST(AdapterTraffic, TokensOfARowParallelLinearBringTheirInput) {
  const auto items =
      group_traffic(hand_input(kMesh), LinearGroup::kDown, ExchangeMode::kTokens, {10, 10});
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    EXPECT_EQ(sent(items, Purpose::kTokensReshape, pass), (ByKind{2 * 20 * 12 * 4 / 2, 0}));
    EXPECT_EQ(sent(items, Purpose::kDispatchRows, pass), (ByKind{20 * 12 * 4, 0}));
    EXPECT_EQ(sent(items, Purpose::kCombineRows, pass), (ByKind{20 * 8 * 4, 0}));
  }
}

TEST(AdapterTraffic, TokensSendPositionsForDropout) {
  const auto items = group_traffic(hand_input(kMesh, {"adapter.expert_dropout=0.1"}),
                                   LinearGroup::kGateUp, ExchangeMode::kTokens, {15, 12});
  EXPECT_EQ(sent(items, Purpose::kDispatchGates, Pass::kForward), (ByKind{27 * (16 + 16), 0}));
  EXPECT_EQ(sent(items, Purpose::kDispatchGates, Pass::kBackward), (ByKind{27 * 16, 0}));
}

TEST(AdapterTraffic, TokensGiveEveryCopyOfAKeyValueHeadItsColumns) {
  // tp 4 over 2 key-value heads: k and v are held twice.
  const MeshShape mesh = mesh_shape(4, 4, 2, 2);
  const auto bytes = [&](const char* target) {
    const std::vector<std::string> overrides = {
        "adapter.targets.q_proj=frozen", "adapter.targets.k_proj=frozen",
        "adapter.targets.v_proj=frozen", std::string("adapter.targets.") + target + "=experts"};
    return bytes_sent(
        group_traffic(hand_input(mesh, overrides), LinearGroup::kQkv, ExchangeMode::kTokens),
        {.purpose = Purpose::kTokensReshape, .pass = Pass::kForward});
  };
  EXPECT_EQ(bytes("q_proj"), 2 * 20 * 8 * 4 * 3 / 4);
  EXPECT_EQ(bytes("k_proj"), 2 * (20 * 4 * 4 * 3 / 4) * 2);
}

TEST(AdapterTraffic, TokensBringNoGradientsToAFrozenInput) {
  const auto items = group_traffic(hand_input(kMesh, {"adapter.targets.v_proj=experts"}),
                                   LinearGroup::kQkv, ExchangeMode::kTokens, {5, 7});
  EXPECT_EQ(sent(items, Purpose::kDispatchRows, Pass::kForward), (ByKind{12 * 8 * 4, 0}));
  EXPECT_EQ(sent(items, Purpose::kDispatchRows, Pass::kBackward), (ByKind{7 * 8 * 4, 0}));
  EXPECT_EQ(sent(items, Purpose::kCombineRows, Pass::kBackward), (ByKind{12 * 4 * 4, 0}));
}

TEST(AdapterTraffic, GatesLogitsAndTheLossKeepTheMasterType) {
  const PlanInput input = hand_input(kMesh, {"model.precision=bf16"});
  const auto tokens = group_traffic(input, LinearGroup::kDown, ExchangeMode::kTokens, {10, 10});
  EXPECT_EQ(sent(tokens, Purpose::kDispatchGates, Pass::kForward), (ByKind{20 * 2 * 4, 0}));
  EXPECT_EQ(sent(tokens, Purpose::kDispatchRows, Pass::kForward), (ByKind{20 * 12 * 2, 0}));
  const auto rank = group_traffic(input, LinearGroup::kDown, ExchangeMode::kRank);
  EXPECT_EQ(sent(rank, Purpose::kRouterLogits, Pass::kForward), (ByKind{640, 640}));
  EXPECT_EQ(sent(rank, Purpose::kBottleneck, Pass::kForward), (ByKind{2 * 160, 0}));
  const auto base = base_traffic(input);
  EXPECT_EQ(sent(base, Purpose::kLoss, Pass::kForward), (ByKind{0, 3 * 6 * 4 * 2}));
  EXPECT_EQ(sent(base, Purpose::kLoss, Pass::kBackward), (ByKind{6 * 8 * 2, 6 * 8 * 2}));
}

TEST(AdapterTraffic, GatherMovesTheExpertsAsTheyAreUsed) {
  // E r (in + out/t) b (p-1), in two expert-parallel groups.
  const auto column = group_traffic(hand_input(kMesh), LinearGroup::kGateUp, ExchangeMode::kGather);
  EXPECT_EQ(sent(column, Purpose::kExpertWeights, Pass::kForward),
            (ByKind{2 * 2 * (4 * 2 * (8 + 6) * 4 * 2), 0}));
  EXPECT_EQ(bytes_sent(column, {.axis = Axis::kTensor}), 0);
  const auto row = group_traffic(hand_input(kMesh), LinearGroup::kDown, ExchangeMode::kGather);
  EXPECT_EQ(sent(row, Purpose::kExpertWeights, Pass::kForward),
            (ByKind{2 * (4 * 2 * (6 + 8) * 4 * 2), 0}));
  // Experts travel as activations are computed, and so do their gradients.
  const auto bf16 = group_traffic(hand_input(kMesh, {"model.precision=bf16"}), LinearGroup::kGateUp,
                                  ExchangeMode::kGather);
  EXPECT_EQ(bytes_sent(bf16, {.pass = Pass::kBackward}),
            bytes_sent(bf16, {.pass = Pass::kForward}));
}

TEST(AdapterTraffic, HasTheSizesOfThePublishedEstimateForSevenBillion) {
  // tp 2: k r values of two bytes in three linears, 192 bytes a token and layer.
  const PlanInput two = qwen_input(mesh_shape(2, 2, 1), 1000);
  ExchangeModes modes = all_groups(ExchangeMode::kRank);
  EXPECT_EQ(bytes_sent(micro_step_traffic(two, modes),
                       {.purpose = Purpose::kBottleneck, .pass = Pass::kForward}),
            192.0 * 1000 * 32);
  // ep 8, one expert on each rank: 1.75 of a token's 2 experts live elsewhere.
  const PlanInput eight = qwen_input(mesh_shape(8, 1, 8), 1000);
  const auto items = group_traffic(eight, LinearGroup::kDown, ExchangeMode::kTokens);
  const double rows =
      bytes_sent(items, {.purpose = Purpose::kDispatchRows, .pass = Pass::kForward}) +
      bytes_sent(items, {.purpose = Purpose::kCombineRows, .pass = Pass::kForward});
  EXPECT_NEAR(rows, 1.75 * (11008 + 4096) * 2 * 8000 * 32, 1e-3);
}

TEST(ExpectedPairs, CountEveryRankOnceForAllLinearsOfAGroup) {
  // Two of four experts live here: a linear misses them with C(2,2) / C(4,2) = 1/6.
  EXPECT_NEAR(expected_remote_pairs(hand_input(kMesh), LinearGroup::kDown), 20 * 5.0 / 6, 1e-12);
  EXPECT_NEAR(expected_remote_pairs(hand_input(kMesh), LinearGroup::kGateUp), 20 * 35.0 / 36,
              1e-12);
  EXPECT_EQ(expected_remote_pairs(hand_input(kMesh), LinearGroup::kQkv), 0);
  // Every expert for every token: every other rank.
  const PlanInput dense = hand_input(mesh_shape(4, 1, 4), {"adapter.router.gate=dense_softmax"});
  EXPECT_EQ(expected_remote_pairs(dense, LinearGroup::kDown), 20 * 3);
}

TEST(ExpectedPairs, AreUsedWhenNoneAreGiven) {
  const auto items = group_traffic(hand_input(kMesh), LinearGroup::kDown, ExchangeMode::kTokens);
  EXPECT_NEAR(bytes_sent(items, {.purpose = Purpose::kDispatchRows, .pass = Pass::kForward}),
              2 * (20 * 5.0 / 6) * 12 * 4, 1e-9);
  EXPECT_THROW_WITH(
      (void)group_traffic(hand_input(kMesh), LinearGroup::kDown, ExchangeMode::kTokens, {1}),
      InternalError, "1 against 2");
}

TEST(StepTraffic, SumsEveryGradientOverItsAxis) {
  // Replicated: q, k, v, gate, up: A and router on all ranks; o, down: B and bias on all ranks.
  //   all   3 * 2*8 + 2*8 + 2 * (8*8 + 36) + 8*8 + 4       = 332 per layer
  //   dp    2*4 + 2 * 2*2 + 2*4 + 2 * 8*6 + 8*6 + 4*6       = 192 per layer
  const PlanInput input = hand_input(kMesh);
  const auto items = step_traffic(input, all_groups(ExchangeMode::kReplicate));
  EXPECT_EQ(bytes_sent(items, {.axis = Axis::kAll, .kind = kToAll}), 2 * 332 * 4 * 3);
  EXPECT_EQ(bytes_sent(items, {.axis = Axis::kAll, .kind = kGather}), 2 * 332 * 4 * 3);
  EXPECT_EQ(bytes_sent(items, {.axis = Axis::kData, .kind = kToAll}), 2 * 192 * 4 * 2);
  EXPECT_EQ(bytes_sent(items, {.purpose = Purpose::kParameters}),
            bytes_sent(items, {.kind = kGather}));
  EXPECT_EQ(calls_made(items), 4);
  const PlanInput whole = hand_input(kMesh, {"parallel.shard_optimizer=false"});
  EXPECT_EQ(bytes_sent(step_traffic(whole, all_groups(ExchangeMode::kReplicate)),
                       {.purpose = Purpose::kGradients}),
            bytes_sent(items));
}

TEST(StepTraffic, OfAGroupAddsUpToThatOfAll) {
  const PlanInput input = hand_input(mesh_shape(8, 4, 2, 2));
  ExchangeModes modes;
  modes.by_group = {ExchangeMode::kReplicate, ExchangeMode::kReplicate, ExchangeMode::kTokens,
                    ExchangeMode::kRank};
  double sum = 0;
  for (const LinearGroup group : kLinearGroups) {
    sum += bytes_sent(group_step_traffic(input, group, modes.of(group)));
  }
  const auto items = step_traffic(input, modes);
  EXPECT_EQ(bytes_sent(items), sum);
  // gate and up: A and B of 2 experts of rank 2 over the 4 ranks that hold the same ones.
  EXPECT_EQ(bytes_sent(items, {.axis = Axis::kExpertData, .kind = kToAll}),
            2.0 * 2 * (2 * 2 * (8 + 12)) * 4 * 3 * 2);
  // B of k and v, a head of 2 columns each, over two copies on two data-parallel ranks.
  EXPECT_EQ(bytes_sent(items, {.axis = Axis::kKvReplicas, .kind = kToAll}),
            2.0 * 2 * (2 * 2) * 4 * 3 * 2);
}

TEST(MicroStepTraffic, IsTheBaseAndItsGroups) {
  const PlanInput input = hand_input(kMesh);
  ExchangeModes modes;
  modes.by_group = {ExchangeMode::kReplicate, ExchangeMode::kReplicate, ExchangeMode::kTokens,
                    ExchangeMode::kGather};
  double sum = bytes_sent(base_traffic(input));
  double calls = calls_made(base_traffic(input));
  for (const LinearGroup group : kLinearGroups) {
    sum += bytes_sent(group_traffic(input, group, modes.of(group)));
    calls += calls_made(group_traffic(input, group, modes.of(group)));
  }
  EXPECT_EQ(bytes_sent(micro_step_traffic(input, modes)), sum);
  EXPECT_EQ(calls_made(micro_step_traffic(input, modes)), calls);
}

TEST(TrafficNames, AreAllDifferent) {
  std::set<std::string> names;
  for (size_t i = 0; i < kNumPurposes; ++i) names.insert(purpose_name(static_cast<Purpose>(i)));
  EXPECT_EQ(names.size(), kNumPurposes);
  std::set<std::string> passes;
  for (const Pass pass : kPasses) passes.insert(pass_name(pass));
  EXPECT_EQ(passes.size(), kPasses.size());
}

}  // namespace
}  // namespace molora
