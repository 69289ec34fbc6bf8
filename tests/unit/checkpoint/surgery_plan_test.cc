#include "checkpoint/surgery_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/surgery_configs.h"

namespace molora {
namespace {

using testing::allowing;
using testing::dropping;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kAdded = SurgeryPlan::kAdded;

// The default adapter with this many experts: k 2, r 16, alpha 32.
RunConfig with_experts(uint32_t num_experts) {
  RunConfig config;
  config.mutable_adapter()->set_num_experts(num_experts);
  return config;
}

TEST(NeedsSurgery, NothingThatLeavesTheTensorsAlone) {
  EXPECT_FALSE(needs_surgery(RunConfig(), RunConfig()));
  RunConfig frozen;
  frozen.mutable_adapter()->add_frozen_experts(3);
  EXPECT_FALSE(needs_surgery(RunConfig(), frozen));
  RunConfig dropout;
  dropout.mutable_adapter()->set_expert_dropout(0.1);
  EXPECT_FALSE(needs_surgery(RunConfig(), dropout));
  RunConfig same_scale;
  same_scale.mutable_adapter()->set_rslora(true);
  same_scale.mutable_adapter()->set_lora_alpha(8);
  EXPECT_FALSE(needs_surgery(RunConfig(), same_scale)) << "8 / sqrt(16) is 32 / 16";
}

TEST(NeedsSurgery, WhateverChangesTheTensorsOrTheChoice) {
  EXPECT_TRUE(needs_surgery(with_experts(8), with_experts(9)));
  EXPECT_TRUE(needs_surgery(with_experts(8), dropping(with_experts(8), {2})));
  RunConfig other;
  other.mutable_adapter()->set_experts_per_token(3);
  EXPECT_TRUE(needs_surgery(RunConfig(), other));
  other = RunConfig();
  other.mutable_adapter()->set_lora_rank(17);
  EXPECT_TRUE(needs_surgery(RunConfig(), other));
  other = RunConfig();
  other.mutable_adapter()->set_rslora(true);
  EXPECT_TRUE(needs_surgery(RunConfig(), other));
}

// The list stays in the configuration file.
TEST(NeedsSurgery, NotAgainForAListThatWasObeyed) {
  EXPECT_FALSE(needs_surgery(dropping(with_experts(7), {2}), dropping(with_experts(7), {2})));
  EXPECT_FALSE(needs_surgery(dropping(with_experts(7), {2}), with_experts(7)));
}

TEST(NeedsSurgery, NotForExpertsWhereNoLinearHasThem) {
  const auto lora = [](uint32_t num_experts) {
    RunConfig config = with_experts(num_experts);
    TargetsConfig& targets = *config.mutable_adapter()->mutable_targets();
    targets.set_gate_proj(TargetsConfig::lora);
    targets.set_up_proj(TargetsConfig::lora);
    targets.set_down_proj(TargetsConfig::lora);
    return config;
  };
  EXPECT_FALSE(needs_surgery(lora(8), lora(9)));
  EXPECT_THROW_WITH(plan_surgery(lora(8), dropping(lora(8), {0})), ConfigError,
                    "checkpoint.surgery.drop_experts: has no effect: no linear in adapter.targets "
                    "is 'experts'; remove it");
}

TEST(SurgeryPlan, AddedExpertsComeLast) {
  const SurgeryPlan plan = plan_surgery(with_experts(3), with_experts(5));
  EXPECT_THAT(plan.origins, ElementsAre(0, 1, 2, kAdded, kAdded));
  EXPECT_EQ(plan.added_expert_bias, -30.0);
  EXPECT_THAT(plan.report, ElementsAre("num_experts 3 -> 5: experts 3, 4 new, with router bias "
                                       "-30"));
}

TEST(SurgeryPlan, ExpertsThatAreLeftKeepTheirOrder) {
  const SurgeryPlan plan = plan_surgery(with_experts(5), dropping(with_experts(4), {3, 0}));
  EXPECT_THAT(plan.origins, ElementsAre(1, 2, 4, kAdded));
  EXPECT_THAT(plan.dropped, ElementsAre(0, 3));
  EXPECT_THAT(plan.report,
              ElementsAre("num_experts 5 -> 4: experts 0, 3 of the checkpoint left out, the others "
                          "keep their order; expert 3 new, with router bias -30"));
}

// A checkpoint from before the list was obeyed, and one from after.
TEST(SurgeryPlan, ObeysAListOnce) {
  const RunConfig wanted = dropping(with_experts(7), {2});
  EXPECT_THAT(plan_surgery(with_experts(8), wanted).dropped, ElementsAre(2));
  RunConfig larger = dropping(with_experts(8), {2});
  const SurgeryPlan plan = plan_surgery(wanted, larger);
  EXPECT_THAT(plan.dropped, IsEmpty());
  EXPECT_THAT(plan.origins, ElementsAre(0, 1, 2, 3, 4, 5, 6, kAdded));
}

TEST(SurgeryPlan, OneExpertLeftHasNoRouter) {
  RunConfig one = dropping(with_experts(1), {0});
  one.mutable_adapter()->set_experts_per_token(1);
  const SurgeryPlan plan = plan_surgery(with_experts(2), one);
  EXPECT_THAT(plan.origins, ElementsAre(1));
  EXPECT_THAT(
      plan.report,
      ElementsAre("num_experts 2 -> 1: expert 0 of the checkpoint left out, the others keep "
                  "their order; the one that is left has no router: its weight is 1 for "
                  "every token"));
}

TEST(SurgeryPlan, FollowsTheScale) {
  RunConfig wanted;
  wanted.mutable_adapter()->set_lora_rank(64);
  wanted.mutable_adapter()->set_rslora(true);
  const SurgeryPlan plan = plan_surgery(RunConfig(), wanted);
  EXPECT_EQ(plan.factor_of_B(), 0.5) << "32 / 16 over 32 / sqrt(64)";
  EXPECT_THAT(
      plan.report,
      ElementsAre("lora_rank 16 -> 64: the new rows of lora_A are as at the start of a run, "
                  "of lora_B 0",
                  "scale 2 -> 4: lora_B is multiplied by 0.5, so that the adapter stays the "
                  "same function"));
}

TEST(SurgeryPlan, RefusesFewerExpertsThanAreLeft) {
  EXPECT_THROW_WITH(plan_surgery(with_experts(8), with_experts(6)), ConfigError,
                    "adapter.num_experts: expected at least 8, the checkpoint's 8 experts, got 6; "
                    "name 2 to leave out, such as checkpoint.surgery.drop_experts: [6, 7]");
  EXPECT_THROW_WITH(plan_surgery(with_experts(8), dropping(with_experts(6), {3})), ConfigError,
                    "expected at least 7, the checkpoint's 8 experts without expert 3, got 6; name "
                    "1 to leave out as well in checkpoint.surgery.drop_experts");
  EXPECT_THROW_WITH(plan_surgery(dropping(with_experts(8), {3}), dropping(with_experts(7), {3})),
                    ConfigError, "expected at least 8, the checkpoint's 8 experts, got 7",
                    "(the list [3] was obeyed before this checkpoint was saved; write one with the "
                    "present indices)");
}

TEST(SurgeryPlan, RefusesDropListsThatCannotBe) {
  EXPECT_THROW_WITH(plan_surgery(with_experts(4), dropping(with_experts(2), {1, 4, 1})),
                    ConfigError,
                    "checkpoint.surgery.drop_experts: expected indices below 4, the number of "
                    "experts in the checkpoint, got 4",
                    "checkpoint.surgery.drop_experts: expert 1 stands twice; remove one");
  EXPECT_THROW_WITH(
      plan_surgery(with_experts(2), dropping(with_experts(2), {0, 1})), ConfigError,
      "checkpoint.surgery.drop_experts: names all experts of the checkpoint (2); keep "
      "one, or start a new run");
}

TEST(SurgeryPlan, RefusesToInventARouter) {
  EXPECT_THROW_WITH(plan_surgery(with_experts(1), allowing(with_experts(4))), ConfigError,
                    "adapter.num_experts: the checkpoint has one expert per linear and so no "
                    "router, got 4; a router cannot be added: set adapter.num_experts: 1, or start "
                    "a new run");
}

TEST(SurgeryPlan, RefusesABiasThatLetsTokensTakeAddedExperts) {
  RunConfig wanted = with_experts(9);
  wanted.mutable_checkpoint()->mutable_surgery()->set_added_expert_bias(-19.5);
  EXPECT_THROW_WITH(plan_surgery(with_experts(8), wanted), ConfigError,
                    "checkpoint.surgery.added_expert_bias: expected at most -20, at which no token "
                    "takes an added expert at first, got -19.5; to let tokens try it at once, set "
                    "checkpoint.surgery.may_change_forward: true");
  EXPECT_EQ(plan_surgery(with_experts(8), allowing(wanted)).added_expert_bias, -19.5);
  wanted.mutable_adapter()->set_num_experts(8);
  wanted.mutable_adapter()->set_lora_alpha(16);
  EXPECT_EQ(plan_surgery(with_experts(8), wanted).origins.size(), 8u) << "nobody is added";
}

TEST(SurgeryPlan, RefusesAnotherChoiceWhereThereIsOne) {
  RunConfig wanted;
  wanted.mutable_adapter()->set_experts_per_token(3);
  EXPECT_THROW_WITH(plan_surgery(RunConfig(), wanted), ConfigError,
                    "adapter.experts_per_token: the checkpoint was trained with 2, got 3, which "
                    "makes the adapter another function; set it to 2, or to allow that set "
                    "checkpoint.surgery.may_change_forward: true");
  EXPECT_THAT(plan_surgery(RunConfig(), allowing(wanted)).report,
              ElementsAre("experts_per_token 2 -> 3: the first forward pass changes"));
  RunConfig dense;
  dense.mutable_adapter()->mutable_router()->set_gate(RouterConfig::dense_softmax);
  wanted.mutable_adapter()->mutable_router()->set_gate(RouterConfig::dense_softmax);
  EXPECT_FALSE(needs_surgery(dense, wanted));
}

TEST(SurgeryPlan, RefusesOtherTargets) {
  RunConfig wanted = with_experts(6);
  wanted.mutable_adapter()->mutable_targets()->set_q_proj(TargetsConfig::experts);
  EXPECT_THROW_WITH(plan_surgery(with_experts(8), wanted), ConfigError,
                    "\n  adapter.targets.q_proj: the checkpoint has lora, got experts; what is "
                    "trained on a linear cannot be changed: set it to lora, or start a new run");
}

TEST(SurgeryPlan, TellsEverythingThatIsRefusedAtOnce) {
  RunConfig wanted = dropping(with_experts(6), {9});
  wanted.mutable_adapter()->set_experts_per_token(3);
  EXPECT_THROW_WITH(plan_surgery(with_experts(8), wanted), ConfigError,
                    "the checkpoint's experts cannot be made what the configuration asks for:\n  "
                    "checkpoint.surgery.drop_experts: ",
                    "\n  adapter.num_experts: ", "\n  adapter.experts_per_token: ");
}

// A field by another name would be guarded by nobody.
TEST(SurgeryFields, AreFieldsOfTheAdapter) {
  for (const std::string_view name : kSurgeryFields) {
    const std::string field(name.substr(std::string_view("adapter.").size()));
    EXPECT_NE(AdapterConfig::descriptor()->FindFieldByName(field), nullptr) << name;
  }
}

TEST(TargetKind, IsThatOfTheLinearsName) {
  const TargetsConfig targets;
  EXPECT_EQ(target_kind(targets, "layers.3.self_attn.q_proj"), TargetsConfig::lora);
  EXPECT_EQ(target_kind(targets, "layers.3.mlp.down_proj"), TargetsConfig::experts);
  EXPECT_THROW_WITH(target_kind(targets, "layers.3.mlp.side_proj"), InternalError,
                    "layers.3.mlp.side_proj is no linear of adapter.targets");
}

}  // namespace
}  // namespace molora
