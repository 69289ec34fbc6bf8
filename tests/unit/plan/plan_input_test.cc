#include "plan/plan_input.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/plan_shapes.h"

namespace molora {
namespace {

using testing::config_from;
using testing::hand_input;
using testing::hand_model;

TEST(PlanInput, TakesMicroBatchesOfFullRowsUnlessToldOtherwise) {
  const RunConfig config = config_from(
      "", {"data.max_length=100", "train.micro_batch_size=4", "train.global_batch_size=50"});
  const PlanInput input = plan_input(config, hand_model(), mesh_shape(6, 2, 1));
  EXPECT_EQ(input.tokens, 3 * 4 * 100);
  EXPECT_EQ(input.supervised, input.tokens);
  EXPECT_EQ(input.row_tokens, 100);
  EXPECT_EQ(input.micro_steps, 5);  // 17 rows, 4 at a time
  const PlanInput few = plan_input(config, hand_model(), mesh_shape(6, 2, 1), 30);
  EXPECT_EQ(few.tokens, 90);
  EXPECT_EQ(few.row_tokens, 30);
}

TEST(PlanInput, HasNoMicroBatchLargerThanTheRanksPart) {
  const RunConfig config = config_from(
      "", {"data.max_length=100", "train.micro_batch_size=16", "train.global_batch_size=8"});
  const PlanInput input = plan_input(config, hand_model(), mesh_shape(4, 1, 1));
  EXPECT_EQ(input.tokens, 4 * 2 * 100);
  EXPECT_EQ(input.micro_steps, 1);
}

TEST(PlanInput, RefusesMoreTokensThanAnybodyHas) {
  const RunConfig config =
      config_from("", {"data.max_length=4294967295", "train.micro_batch_size=4294967295",
                       "train.global_batch_size=4294967295"});
  EXPECT_THROW_WITH((void)plan_input(config, hand_model(), mesh_shape(2, 1, 1)), ConfigError,
                    "a micro-step of 1.84e+19 tokens over all ranks cannot be planned, at most "
                    "1e+12: make train.micro_batch_size, data.max_length or --tokens smaller");
  EXPECT_THROW_WITH((void)plan_input(config, hand_model(), mesh_shape(2, 1, 1), 1'000'000'000'000),
                    ConfigError, "a micro-step of 2e+12 tokens");
}

TEST(PlanInput, KnowsTheTypes) {
  const auto bytes = [](const char* precision) {
    const PlanInput input =
        hand_input(mesh_shape(1, 1, 1), {std::string("model.precision=") + precision});
    return std::pair(input.activation_bytes, input.master_bytes);
  };
  EXPECT_EQ(bytes("fp32"), std::pair(int64_t{4}, int64_t{4}));
  EXPECT_EQ(bytes("bf16"), std::pair(int64_t{2}, int64_t{4}));
  EXPECT_EQ(bytes("fp64"), std::pair(int64_t{8}, int64_t{8}));
}

TEST(PlanInput, SlicesLinearsByGroup) {
  const PlanInput input = hand_input(mesh_shape(4, 4, 1, 2));
  const auto qkv = group_linears(input, LinearGroup::kQkv);
  ASSERT_EQ(qkv.size(), 3u);
  EXPECT_EQ(qkv[0].out_held, 2);
  EXPECT_EQ(qkv[1].out_held, 2);  // one of two heads, on two ranks alike
  EXPECT_EQ(qkv[0].in_held, 8);
  const auto down = group_linears(input, LinearGroup::kDown);
  ASSERT_EQ(down.size(), 1u);
  EXPECT_EQ(down[0].in_held, 3);
  EXPECT_EQ(down[0].out_held, 8);
}

TEST(PlanInput, AxisSizesAreThoseOfTheMesh) {
  for (const MeshShape& mesh : {mesh_shape(8, 4, 2, 2), mesh_shape(6, 2, 3), mesh_shape(1, 1, 1)}) {
    for (const Axis axis : kAxes) {
      for (const auto& group : axis_groups(mesh, axis)) {
        EXPECT_EQ(axis_size(mesh, axis), std::ssize(group)) << axis_name(axis);
      }
    }
  }
}

TEST(PlanInput, NeedsTheGradientOfWhatFollowsSomethingTrained) {
  const PlanInput input = hand_input(
      mesh_shape(1, 1, 1), {"adapter.targets.q_proj=frozen", "adapter.targets.k_proj=frozen",
                            "adapter.targets.v_proj=frozen"});
  EXPECT_FALSE(needs_input_gradient(input, 0, LinearGroup::kQkv));
  EXPECT_FALSE(needs_input_gradient(input, 0, LinearGroup::kO));
  EXPECT_TRUE(needs_input_gradient(input, 0, LinearGroup::kGateUp));
  EXPECT_TRUE(needs_input_gradient(input, 1, LinearGroup::kQkv));
}

}  // namespace
}  // namespace molora
