#include "config/cross_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/config_faults.h"

namespace molora {
namespace {

using testing::config_faults;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

const char* const kAllLora =
    "adapter: {targets: {gate_proj: lora, up_proj: lora, down_proj: lora}}\n";

std::vector<std::string> warnings_of(const std::string& adapter) {
  return parse_config({{"run.yaml", "model: {path: m}\nadapter: " + adapter}}, {},
                      ConfigUse::kModel)
      .warnings;
}

TEST(CrossChecks, RefuseMoreExpertsPerTokenThanThereAre) {
  EXPECT_EQ(config_faults("adapter:\n  experts_per_token: 5\n  num_experts: 4\n"),
            "run.yaml:2: adapter.experts_per_token: expected adapter.experts_per_token of at most "
            "adapter.num_experts (4), got 5");
  EXPECT_EQ(config_faults("adapter:\n  num_experts: 1\n"),
            "run.yaml:2: adapter.num_experts: expected adapter.experts_per_token of at most "
            "adapter.num_experts (1), got 2, its default; set it too");
  EXPECT_EQ(config_faults("adapter: {num_experts: 4, experts_per_token: 4}"), "");
}

TEST(CrossChecks, IgnoreExpertsPerTokenWhereTheGateDoes) {
  EXPECT_EQ(config_faults("adapter: {num_experts: 1, router: {gate: dense_softmax}}"), "");
}

TEST(CrossChecks, LeaveFaultyFieldsOut) {
  EXPECT_EQ(config_faults("adapter: {num_experts: 1, experts_per_token: x}"),
            "run.yaml:1: adapter.experts_per_token: expected a whole number, got 'x'");
  EXPECT_EQ(config_faults("train: {warmup_steps: 9, max_steps: 1, max_steps: 20}"),
            "run.yaml:1: train.max_steps: stands twice, first in line 1; remove one");
}

TEST(CrossChecks, KnowWhatExpertsOfWholeMlpsCannotBeBeside) {
  const auto faults = [](const std::string& rest) {
    return config_faults("adapter: {router: {scope: block}" + rest);
  };
  EXPECT_EQ(faults("}"), "");
  EXPECT_EQ(faults(", targets: {up_proj: frozen}}"), "");
  EXPECT_EQ(faults("}\nparallel: {exchange: gather}"), "");
  EXPECT_EQ(faults(", targets: {gate_proj: frozen, up_proj: frozen, down_proj: frozen, q_proj: "
                   "experts}}"),
            "run.yaml:1: adapter.router.scope: block has no effect: none of gate_proj, up_proj and "
            "down_proj in adapter.targets is 'experts'; remove it, or set one");
  EXPECT_EQ(faults(", targets: {up_proj: lora}}"),
            "run.yaml:1: adapter.targets.up_proj: expected experts or frozen with "
            "adapter.router.scope: block, where each expert is a whole MLP, got lora");
  EXPECT_EQ(faults(", shared_experts: 1}"),
            "run.yaml:1: adapter.shared_experts: with adapter.router.scope: block an expert that "
            "every token uses would be the MLP once more; remove one of the two");
  EXPECT_EQ(config_faults("adapter: {router: {scope: block, gate: threshold}}"),
            "run.yaml:1: adapter.router.gate: with adapter.router.scope: block a token that "
            "chooses no expert would have no MLP; use top_p");
  EXPECT_EQ(faults("}\nparallel: {exchange: rank}"),
            "run.yaml:2: parallel.exchange: expected auto, replicate or gather for gate_up with "
            "adapter.router.scope: block, whose experts are whole MLPs, got rank");
  EXPECT_EQ(faults("}\nparallel: {exchange_by_group: {down: tokens}}"),
            "run.yaml:2: parallel.exchange_by_group.down: expected auto, replicate or gather for "
            "down with adapter.router.scope: block, whose experts are whole MLPs, got tokens");
}

TEST(CrossChecks, RefuseAWarmUpThatNeverEnds) {
  EXPECT_EQ(config_faults("train:\n  max_steps: 10\n  warmup_steps: 10\n"),
            "run.yaml:3: train.warmup_steps: expected less than train.max_steps (10), got 10");
  EXPECT_EQ(config_faults("train: {max_steps: 10, warmup_steps: 9}"), "");
  EXPECT_EQ(config_faults("train: {warmup_steps: 10}"), "");
}

TEST(CrossChecks, RefuseToTrainNothing) {
  EXPECT_EQ(config_faults("adapter:\n  targets: {q_proj: frozen, k_proj: frozen, v_proj: frozen, "
                          "o_proj: frozen, gate_proj: frozen, up_proj: frozen, down_proj: "
                          "frozen}\n"),
            "run.yaml:2: adapter.targets: expected lora or experts for at least one linear, got "
            "frozen for all: nothing is trained");
}

TEST(CrossChecks, RefuseRouterSettingsWithoutExperts) {
  EXPECT_EQ(
      config_faults(kAllLora,
                    {"adapter.router.gate=softmax_topk", "adapter.router.balance_loss_coef=0.1",
                     "adapter.router.z_loss_coef=0.1", "adapter.expert_dropout=0.1"}),
      "--set 'adapter.router.gate=softmax_topk': adapter.router.gate: has no effect: no linear in "
      "adapter.targets is 'experts'; remove it, or set one\n"
      "  --set 'adapter.router.balance_loss_coef=0.1': adapter.router.balance_loss_coef: has no "
      "effect: no linear in adapter.targets is 'experts'; remove it, or set one\n"
      "  --set 'adapter.router.z_loss_coef=0.1': adapter.router.z_loss_coef: has no effect: no "
      "linear in adapter.targets is 'experts'; remove it, or set one\n"
      "  --set 'adapter.expert_dropout=0.1': adapter.expert_dropout: has no effect: no linear in "
      "adapter.targets is 'experts'; remove it, or set one");
}

TEST(CrossChecks, RefuseHowARouterBeginsWithoutExperts) {
  EXPECT_EQ(config_faults(kAllLora, {"adapter.router.bias=false", "adapter.router.init_std=0.02"}),
            "--set 'adapter.router.bias=false': adapter.router.bias: has no effect: no linear in "
            "adapter.targets is 'experts'; remove it, or set one\n"
            "  --set 'adapter.router.init_std=0.02': adapter.router.init_std: has no effect: no "
            "linear in adapter.targets is 'experts'; remove it, or set one");
}

TEST(CrossChecks, RefuseRouterSettingsThatChangeNothing) {
  EXPECT_EQ(config_faults("adapter:\n  router: {gate: dense_softmax, balance_loss_coef: 0.1}\n"),
            "run.yaml:2: adapter.router.balance_loss_coef: has no effect: with dense_softmax every "
            "token uses every expert, so that all have the same share; use "
            "adapter.router.localized_balance or entropy_loss_coef");
  EXPECT_EQ(
      config_faults("adapter:\n  router: {gate: dense_softmax, health: {action: raise_loss}}\n"),
      "run.yaml:2: adapter.router.health.action: raise_loss cannot help with dense_softmax, where "
      "the balance loss has no effect; use revive");
  EXPECT_EQ(config_faults("adapter:\n  router: {health: {action: revive, window: 0}}\n"),
            "run.yaml:2: adapter.router.health.action: has no effect with "
            "adapter.router.health.window: 0, which raises no alarms; remove it, or set a window");
  EXPECT_EQ(config_faults("adapter:\n  router:\n    localized_balance: {tasks: [qa]}\n"),
            "run.yaml:3: adapter.router.localized_balance.tasks: has no effect without "
            "adapter.router.localized_balance.coef; remove it, or set a weight");
  EXPECT_EQ(config_faults("adapter:\n  router:\n    localized_balance: {coef: 0.1}\n"),
            "run.yaml:3: adapter.router.localized_balance.coef: needs to know which tasks prefer "
            "the first half of the experts; name them in adapter.router.localized_balance.tasks, "
            "or set delta: 0");
  EXPECT_EQ(config_faults("adapter:\n  router:\n    localized_balance: {coef: 0.1, delta: 0}\n"),
            "");
}

TEST(CrossChecks, RefuseLossesOfRoutersThatAreNotThere) {
  EXPECT_EQ(
      config_faults(kAllLora,
                    {"adapter.router.entropy_loss_coef=-0.1", "adapter.router.bias_update_rate=0.1",
                     "adapter.router.health.action=revive"}),
      "--set 'adapter.router.entropy_loss_coef=-0.1': adapter.router.entropy_loss_coef: has "
      "no effect: no linear in adapter.targets is 'experts'; remove it, or set one\n"
      "  --set 'adapter.router.bias_update_rate=0.1': adapter.router.bias_update_rate: has no "
      "effect: no linear in adapter.targets is 'experts'; remove it, or set one\n"
      "  --set 'adapter.router.health.action=revive': adapter.router.health.action: has no "
      "effect: no linear in adapter.targets is 'experts'; remove it, or set one");
}

TEST(CrossChecks, AcceptRouterDefaultsWithoutExperts) {
  EXPECT_EQ(config_faults(kAllLora, {"adapter.router.gate=topk_softmax", "adapter.router.bias=true",
                                     "adapter.router.z_loss_coef=0", "adapter.expert_dropout=0"}),
            "");
}

// Of the family: fields that mean nothing beside others, each named with what would do.
TEST(CrossChecks, RefuseMembersOfTheFamilyThatCannotBe) {
  const auto expect = [](const std::string& adapter, const std::string& words) {
    EXPECT_THAT(config_faults("adapter: " + adapter), ::testing::HasSubstr(words)) << adapter;
  };
  expect("{shared_A: true, frozen_experts: [0]}", "adapter.frozen_experts: an expert cannot keep");
  expect("{router: {gate: dense_softmax, selection: sampled}}",
         "adapter.router.selection: has no effect");
  expect("{router: {gate: threshold, bias_update_rate: 0.01}}",
         "adapter.router.bias_update_rate: has no effect");
  expect("{router: {gate: top_p, health: {action: bias}}}", "adapter.router.health.action: bias");
  expect("{router: {top_p_mass: 0.5}}", "adapter.router.top_p_mass: has no effect without");
  expect("{router: {threshold_max: 0.5}}", "adapter.router.threshold_max: has no effect without");
  expect("{num_experts_by_layer: [2, 4], router: {loss_across_routers: concat}}",
         "adapter.router.loss_across_routers: concat needs as many experts");
  expect("{router: {input: task}}", "adapter.router.tasks: expected the names of the tasks");
  expect("{router: {tasks: [a]}}", "adapter.router.tasks: has no effect");
  expect("{router: {heads: 2, input: task, tasks: [a]}}",
         "adapter.router.heads: a task has no parts");
  expect("{dora: true, targets: {q_proj: frozen, k_proj: frozen, v_proj: frozen, o_proj: frozen}}",
         "adapter.dora: has no effect");
  expect("{router: {heads: 2}}\nparallel: {expert_parallel: 2, exchange: tokens}",
         "parallel.exchange: expected auto or replicate");
  EXPECT_EQ(config_faults("adapter: {shared_experts: 2, shared_A: true, dora: true, "
                          "router: {gate: dense_softmax, heads: 2}}"),
            "");
}

TEST(CrossChecks, RefuseListsByLayerThatDoNotFit) {
  EXPECT_EQ(config_faults("adapter:\n  num_experts_by_layer: [2, 4]\n"
                          "  experts_per_token_by_layer: [2, 5]\n"),
            "run.yaml:3: adapter.experts_per_token_by_layer: layer 1: expected 1 to 4 experts for "
            "each token, got 5");
  EXPECT_EQ(config_faults("adapter:\n  num_experts_by_layer: [2, 4, 4]\n"
                          "  experts_per_token_by_layer: [2, 2]\n"),
            "run.yaml:3: adapter.experts_per_token_by_layer: expected as many numbers as "
            "adapter.num_experts_by_layer (3), got 2");
  EXPECT_EQ(config_faults("adapter:\n  num_experts_by_layer: [1, 4]\n"),
            "run.yaml:2: adapter.num_experts_by_layer: layer 0: expected 1 to 1 experts for each "
            "token, got 2");
  EXPECT_EQ(config_faults("adapter: {lora_rank_by_layer: [2, 0]}"),
            "run.yaml:1: adapter.lora_rank_by_layer: expected ranks of at least 1, got 0");
}

TEST(CrossChecks, RefuseFrozenExpertsThatAreNotThere) {
  EXPECT_EQ(config_faults("adapter:\n  num_experts: 4\n  frozen_experts:\n    - 3\n    - 4\n"),
            "run.yaml:5: adapter.frozen_experts[1]: expected an index below adapter.num_experts "
            "(4), got 4");
  EXPECT_EQ(config_faults("adapter: {num_experts: 4, frozen_experts: [0, 3]}"), "");
}

TEST(CrossChecks, RefuseFrozenExpertsThatStandTwice) {
  EXPECT_EQ(config_faults("adapter: {frozen_experts: [1, 5, 1]}"),
            "run.yaml:1: adapter.frozen_experts[2]: stands twice: expert 1; remove one");
}

TEST(CrossChecks, RefuseFrozenExpertsWithoutExperts) {
  EXPECT_EQ(config_faults(kAllLora, {"adapter.frozen_experts=[0, 99]"}),
            "--set 'adapter.frozen_experts=[0, 99]': adapter.frozen_experts: has no effect: no "
            "linear in adapter.targets is 'experts'; remove it, or set one");
}

// Their routers still learn.
TEST(CrossChecks, AcceptThatAllExpertsAreFrozen) {
  EXPECT_EQ(config_faults("adapter: {num_experts: 3, frozen_experts: [2, 0, 1]}"), "");
}

TEST(CrossChecks, LeaveFaultyFrozenExpertsOut) {
  EXPECT_EQ(config_faults("adapter: {num_experts: 4, frozen_experts: [9, x]}"),
            "run.yaml:1: adapter.frozen_experts[1]: expected a whole number, got 'x'");
  EXPECT_EQ(config_faults("adapter: {num_experts: x, frozen_experts: [9]}"),
            "run.yaml:1: adapter.num_experts: expected a whole number, got 'x'");
}

TEST(CrossChecks, RefuseOnCpusWhatIsOfGpus) {
  EXPECT_EQ(config_faults("device: {kind: cpu, kernels: fused}\nparallel: {backend: nccl}\n"),
            "run.yaml:2: parallel.backend: nccl is of GPUs, and device.kind is cpu; write auto or "
            "mpi");
  EXPECT_EQ(config_faults("device: {kind: cpu, deterministic: true}"),
            "run.yaml:1: device.deterministic: has no effect: device.kind is cpu, which always is; "
            "remove it");
  EXPECT_EQ(config_faults("device: {kind: cuda, kernels: fused, deterministic: true}\n"
                          "parallel: {backend: nccl}\n"),
            "");
  EXPECT_EQ(config_faults("device: {kind: cpu, kernels: aten}\nparallel: {backend: mpi}\n"), "");
}

TEST(CrossChecks, RefuseExpertPlacementWithoutExperts) {
  EXPECT_EQ(config_faults(kAllLora, {"parallel.expert_parallel=2", "parallel.exchange=gather"}),
            "--set 'parallel.expert_parallel=2': parallel.expert_parallel: has no effect: no "
            "linear in adapter.targets is 'experts'; remove it, or set one\n"
            "  --set 'parallel.exchange=gather': parallel.exchange: has no effect: no linear in "
            "adapter.targets is 'experts'; remove it, or set one");
  EXPECT_EQ(config_faults(kAllLora, {"parallel.expert_parallel=1", "parallel.exchange=auto",
                                     "parallel.tensor_parallel=2"}),
            "");
}

TEST(CrossChecks, RefuseAnExchangeOfAGroupWithoutExperts) {
  EXPECT_EQ(config_faults("parallel:\n  exchange_by_group:\n    qkv: rank\n    down: tokens\n"),
            "run.yaml:3: parallel.exchange_by_group.qkv: has no effect: no linear of this group is "
            "'experts' in adapter.targets; remove it, or set one");
  EXPECT_EQ(config_faults("adapter: {targets: {v_proj: experts}}\n"
                          "parallel: {exchange_by_group: {qkv: rank, o: inherit}}"),
            "");
}

TEST(CrossChecks, RefuseExpertsThatCannotBeSharedOut) {
  EXPECT_EQ(config_faults("adapter: {num_experts: 6}\n"
                          "parallel:\n"
                          "  expert_parallel: 4\n"
                          "  exchange: tokens\n"
                          "  exchange_by_group: {down: gather}\n"),
            "run.yaml:3: parallel.expert_parallel: expected a divisor of adapter.num_experts (6), "
            "1, 2, 3 or 6, for the exchange of gate_up (tokens), down (gather), got 4");
  EXPECT_EQ(config_faults("", {"parallel.tensor_parallel=3", "parallel.expert_parallel=3",
                               "parallel.exchange_by_group.down=rank"}),
            "--set 'parallel.tensor_parallel=3': parallel.tensor_parallel: expected a divisor of "
            "adapter.num_experts (8), 1, 2, 4 or 8, for the exchange of down (rank), got 3");
}

TEST(CrossChecks, AcceptUnevenExpertsWhereThePlacementIsFree) {
  EXPECT_EQ(config_faults("", {"parallel.tensor_parallel=3", "parallel.expert_parallel=3"}), "");
  EXPECT_EQ(config_faults("", {"parallel.tensor_parallel=3", "parallel.expert_parallel=3",
                               "parallel.exchange=replicate"}),
            "");
  EXPECT_EQ(config_faults("", {"parallel.expert_parallel=3", "parallel.exchange=rank"}), "");
}

TEST(CrossChecks, AcceptPlacementsThatOneTensorRankMakesEqual) {
  EXPECT_EQ(config_faults("", {"parallel.exchange=rank", "parallel.sequence_parallel=true"}), "");
}

TEST(CrossChecks, LeaveFaultyPlacementsOut) {
  EXPECT_EQ(config_faults("", {"parallel.expert_parallel=3", "parallel.exchange=token",
                               "parallel.tensor_parallel=0"}),
            "--set 'parallel.exchange=token': parallel.exchange: expected one of auto, tokens, "
            "rank, gather, replicate, got 'token'; did you mean 'tokens'?\n"
            "  --set 'parallel.tensor_parallel=0': parallel.tensor_parallel: expected a whole "
            "number at least 1 and at most 4096, got '0'");
}

TEST(CrossChecks, WarnOfAGateWithoutGradient) {
  EXPECT_THAT(warnings_of("{experts_per_token: 1}"),
              ElementsAre(::testing::StartsWith("run.yaml:2: adapter.experts_per_token: with the "
                                                "gate topk_softmax the one chosen expert always "
                                                "has weight 1")));
  EXPECT_THAT(warnings_of("{experts_per_token: 1, router: {gate: softmax_topk}}"), IsEmpty());
}

TEST(CrossChecks, WarnOfOneExpert) {
  EXPECT_THAT(warnings_of("{num_experts: 1, experts_per_token: 1}"),
              ElementsAre("run.yaml:2: adapter.num_experts: one expert per linear is plain LoRA: "
                          "the router has nothing to choose"));
}

TEST(CrossChecks, WarnOfNothingByDefaultOrWithoutExperts) {
  EXPECT_THAT(warnings_of("{}"), IsEmpty());
  EXPECT_THAT(warnings_of("{experts_per_token: 1, targets: {gate_proj: lora, up_proj: lora, "
                          "down_proj: lora}}"),
              IsEmpty());
}

}  // namespace
}  // namespace molora
