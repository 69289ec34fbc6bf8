#include "plan/memory_plan.h"

#include <gtest/gtest.h>

#include "model/adapter.h"
#include "plan/held_parameters.h"
#include "support/plan_shapes.h"

namespace molora {
namespace {

using testing::hand_input;
using testing::hand_model;
using testing::qwen_input;

int64_t held(const PlanInput& input, const ExchangeModes& modes) {
  int64_t sum = 0;
  for (const LinearGroup group : kLinearGroups) {
    for (const HeldParameters& part : held_parameters(input, group, modes.of(group)))
      sum += part.count;
  }
  return sum;
}

TEST(MemoryPlan, HoldsEverythingOnOneRank) {
  for (const auto& input : {hand_input(mesh_shape(1, 1, 1)), qwen_input(mesh_shape(1, 1, 1), 64)}) {
    EXPECT_EQ(base_slice_parameters(input), count_base_parameters(input.architecture));
    const int64_t trained = count_adapter_parameters(input.architecture, input.adapter).total();
    for (const ExchangeMode mode : kExchangeModes) {
      EXPECT_EQ(held(input, all_groups(mode)), trained) << exchange_mode_name(mode);
    }
  }
}

TEST(MemoryPlan, SlicesTheBaseAsTensorParallelismDoes) {
  // 5 of 10 rows, final norm; per layer two norms, q, k and v, o, gate and up, down.
  EXPECT_EQ(base_slice_parameters(hand_input(mesh_shape(2, 2, 1))),
            5 * 8 + 8 + 2 * (16 + 8 * 4 + 2 * 8 * 2 + 4 * 8 + 2 * 8 * 6 + 6 * 8));
  // Four ranks over two key-value heads hold one each; 3 rows of the embedding on the first.
  EXPECT_EQ(base_slice_parameters(hand_input(mesh_shape(4, 4, 1, 2))),
            3 * 8 + 8 + 2 * (16 + 8 * 2 + 2 * 8 * 2 + 2 * 8 + 2 * 8 * 3 + 3 * 8));
}

TEST(MemoryPlan, CountsBiasesNormsAndAnUntiedHead) {
  PlanInput input = hand_input(mesh_shape(2, 2, 1));
  const int64_t plain = base_slice_parameters(input);
  input.architecture.has_tied_head = false;
  EXPECT_EQ(base_slice_parameters(input), plain + 5 * 8);
  input.architecture.has_qkv_bias = true;
  EXPECT_EQ(base_slice_parameters(input), plain + 5 * 8 + 2 * (4 + 2 + 2));
  input.architecture.has_o_bias = true;
  input.architecture.has_mlp_bias = true;
  input.architecture.has_qk_norm = true;
  EXPECT_EQ(base_slice_parameters(input),
            plain + 5 * 8 + 2 * (4 + 2 + 2) + 2 * (8 + 6 + 6 + 8 + 2 * 2));
}

TEST(MemoryPlan, SharesOutTheMomentsAlone) {
  // dp 2 x tp 2, replicated: 332 parameters a layer on all ranks, 192 on dp (traffic_plan_test).
  const MemoryPlan memory =
      memory_plan(hand_input(mesh_shape(4, 2, 2)), all_groups(ExchangeMode::kReplicate));
  EXPECT_EQ(memory.base, 560 * 4);
  EXPECT_EQ(memory.adapter, 2 * (332 + 192) * 4);
  EXPECT_EQ(memory.gradients, memory.adapter);
  EXPECT_EQ(memory.moments, 2 * 2 * (332 / 4 + 192 / 2) * 4);
  EXPECT_EQ(memory.gathered_experts, 0);
  EXPECT_EQ(memory.checkpoint_copy, 3 * 2 * (332 / 4 + 192 / 2) * 4);
  EXPECT_EQ(memory.total(), memory.base + memory.adapter + memory.gradients + memory.moments +
                                memory.checkpoint_copy);
  const MemoryPlan whole =
      memory_plan(hand_input(mesh_shape(4, 2, 2), {"parallel.shard_optimizer=false"}),
                  all_groups(ExchangeMode::kReplicate));
  EXPECT_EQ(whole.moments, 2 * memory.adapter);
  EXPECT_EQ(whole.checkpoint_copy, memory.checkpoint_copy) << "replicas are written once";
}

TEST(MemoryPlan, KeepsGatheredExpertsUntilTheBackwardPass) {
  const MeshShape mesh = mesh_shape(4, 2, 2);
  // Of each of gate and up, 2 experts of rank 2 from the other rank, as used here: 8 + 6.
  EXPECT_EQ(
      group_memory(hand_input(mesh), LinearGroup::kGateUp, ExchangeMode::kGather).gathered_experts,
      2 * 2 * (2 * 2 * 14) * 4);
  EXPECT_EQ(group_memory(hand_input(mesh, {"train.activation_checkpointing=full"}),
                         LinearGroup::kGateUp, ExchangeMode::kGather)
                .gathered_experts,
            2 * (2 * 2 * 14) * 4);
}

TEST(MemoryPlan, IsInTheTypesOfThePrecision) {
  const MeshShape mesh = mesh_shape(1, 1, 1);
  const auto fp64 = memory_plan(hand_input(mesh, {"model.precision=fp64"}), {});
  const auto fp32 = memory_plan(hand_input(mesh), {});
  const auto bf16 = memory_plan(hand_input(mesh, {"model.precision=bf16"}), {});
  EXPECT_EQ(fp64.base, 2 * fp32.base);
  EXPECT_EQ(bf16.base * 2, fp32.base);
  EXPECT_EQ(fp64.adapter, 2 * fp32.adapter);
  EXPECT_EQ(bf16.adapter, fp32.adapter);
}

}  // namespace
}  // namespace molora
