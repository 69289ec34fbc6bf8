// The result of a step does not depend on how its rows are dealt out: ranks, micro-steps and
// recomputation change the order of additions and nothing else.
#include "train/train_step.h"

#include <cmath>
#include <map>
#include <numeric>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"
#include "support/training_run.h"

namespace molora {
namespace {

using testing::RunOutcome;
using testing::RunShape;
using testing::train_on_threads;
using testing::TrainedModel;

// fp64 and fp32 bounds of the project's law "N ranks equal one rank" over 20 steps.
constexpr double kFp64Tolerance = 1e-10;
constexpr double kFp32Tolerance = 1e-5;

RunShape shape_of(int num_ranks, uint32_t micro_batch_size,
                  TrainConfig::Recompute recompute = TrainConfig::none,
                  at::ScalarType type = at::kDouble) {
  RunShape shape;
  shape.num_ranks = num_ranks;
  shape.micro_batch_size = micro_batch_size;
  shape.recompute = recompute;
  shape.type = type;
  return shape;
}

class TrainStepLayouts : public ::testing::TestWithParam<RunShape> {
 protected:
  TrainStepLayouts() {
    at::set_num_threads(1);
    testing::write_tiny_model(folder_.path(), testing::tiny_config());
  }
  static AdapterConfig adapter() {
    AdapterConfig config;
    config.set_num_experts(4);
    config.set_lora_rank(3);
    config.set_expert_dropout(0.1);
    config.mutable_router()->set_balance_loss_coef(0.05);
    config.mutable_router()->set_z_loss_coef(0.01);
    return config;
  }
  testing::TempFolder folder_;
};

void expect_same(const RunOutcome& got, const RunOutcome& expected, double tolerance) {
  ASSERT_EQ(got.steps.size(), expected.steps.size());
  for (size_t i = 0; i < got.steps.size(); ++i) {
    EXPECT_NEAR(got.steps[i].loss, expected.steps[i].loss, tolerance) << "step " << i;
    EXPECT_NEAR(got.steps[i].grad_norm, expected.steps[i].grad_norm, tolerance) << "step " << i;
    EXPECT_NEAR(got.steps[i].balance_loss, expected.steps[i].balance_loss, tolerance);
    EXPECT_NEAR(got.steps[i].z_loss, expected.steps[i].z_loss, 10 * tolerance);
    EXPECT_EQ(got.steps[i].supervised, expected.steps[i].supervised);
    EXPECT_TRUE(got.steps[i].expert_counts_RE.equal(expected.steps[i].expert_counts_RE));
  }
  EXPECT_LE(testing::difference(got.first_gradients, expected.first_gradients), tolerance);
  EXPECT_LE(testing::difference(got.parameters, expected.parameters), tolerance);
}

TEST_P(TrainStepLayouts, EqualOneRankAndOneMicroStepOverTwentySteps) {
  const RunShape shape = GetParam();
  RunShape single;
  single.type = shape.type;
  const auto expected = train_on_threads(folder_.path(), adapter(), single, 20, 5);
  const auto got = train_on_threads(folder_.path(), adapter(), shape, 20, 5);
  expect_same(*got, *expected, shape.type == at::kDouble ? kFp64Tolerance : kFp32Tolerance);
}

INSTANTIATE_TEST_SUITE_P(Shapes, TrainStepLayouts,
                         ::testing::Values(shape_of(2, 1000), shape_of(3, 1),
                                           shape_of(8, 2),  // 8 ranks, 5 rows
                                           shape_of(1, 1), shape_of(1, 2),
                                           shape_of(2, 1, TrainConfig::full),
                                           shape_of(2, 2, TrainConfig::selective),
                                           shape_of(2, 1, TrainConfig::none, at::kFloat),
                                           shape_of(3, 2, TrainConfig::none, at::kFloat),
                                           shape_of(1, 1, TrainConfig::none, at::kFloat)),
                         [](const auto& shape) {
                           return std::string(shape.param.type == at::kDouble ? "fp64" : "fp32") +
                                  "_ranks" + std::to_string(shape.param.num_ranks) + "_micro" +
                                  std::to_string(shape.param.micro_batch_size) + "_recompute" +
                                  std::to_string(shape.param.recompute);
                         });

class TrainStepFacts : public ::testing::Test {
 protected:
  TrainStepFacts() {
    at::set_num_threads(1);
    testing::write_tiny_model(folder_.path(), testing::tiny_config());
  }
  TrainedModel alone(const AdapterConfig& adapter, at::ScalarType type, const TrainConfig& train) {
    return {folder_.path(), adapter, Mesh::single(), {}, type, {.train = train}};
  }
  testing::TempFolder folder_;
};

TEST_F(TrainStepFacts, SameRunTwiceGivesTheSameBits) {
  const RunShape shape = shape_of(3, 1, TrainConfig::none, at::kFloat);
  const auto a = train_on_threads(folder_.path(), AdapterConfig(), shape, 4, 5);
  const auto b = train_on_threads(folder_.path(), AdapterConfig(), shape, 4, 5);
  EXPECT_EQ(testing::difference(a->parameters, b->parameters), 0.0);
  for (size_t i = 0; i < a->steps.size(); ++i) EXPECT_EQ(a->steps[i].loss, b->steps[i].loss);
}

// Every sample in a row of its own, in the same order.
std::vector<TrainRow> unpacked(const std::vector<TrainRow>& rows) {
  std::vector<TrainRow> single;
  for (const TrainRow& row : rows) {
    for (const TrainSequence& sequence : row) single.push_back({sequence});
  }
  return single;
}

TEST_F(TrainStepFacts, PackedRowsLearnWhatUnpackedRowsLearnDropoutIncluded) {
  AdapterConfig adapter;
  adapter.set_lora_dropout(0.2);
  adapter.set_expert_dropout(0.1);
  adapter.mutable_router()->set_balance_loss_coef(0.01);
  TrainConfig train;
  train.set_micro_batch_size(3);
  TrainedModel packed = alone(adapter, at::kFloat, train);
  TrainedModel single = alone(adapter, at::kFloat, train);
  const auto run = [&](TrainedModel& model, bool is_packed) {
    testing::randomize(model.adapters(), 21, 0.1);
    std::vector<double> losses;
    for (int64_t i = 0; i < 3; ++i) {
      const auto rows = testing::random_rows(5, 100 * i, 37);
      losses.push_back(
          model.step().run(i, deal_rows(is_packed ? rows : unpacked(rows), 0, 1, 3), 1e-3).loss);
    }
    return losses;
  };
  const std::vector<double> expected = run(single, false);
  const std::vector<double> got = run(packed, true);
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], kFp32Tolerance);
  for (size_t i = 0; i < packed.adapters().parameters().size(); ++i) {
    const Tensor difference = packed.adapters().parameters()[i].value.detach() -
                              single.adapters().parameters()[i].value.detach();
    EXPECT_LE(difference.abs().max().item<double>(), 1e-4)
        << packed.adapters().parameters()[i].name;
  }
}

TEST_F(TrainStepFacts, Bf16FollowsFp32) {
  RunShape shape = shape_of(2, 2, TrainConfig::none, at::kFloat);
  const auto fp32 = train_on_threads(folder_.path(), AdapterConfig(), shape, 4, 5);
  shape.type = at::kBFloat16;
  const auto bf16 = train_on_threads(folder_.path(), AdapterConfig(), shape, 4, 5);
  for (size_t i = 0; i < fp32->steps.size(); ++i) {
    EXPECT_NEAR(bf16->steps[i].loss, fp32->steps[i].loss, 0.02 * fp32->steps[i].loss);
    EXPECT_NEAR(bf16->steps[i].grad_norm, fp32->steps[i].grad_norm, 0.1 * fp32->steps[i].grad_norm);
  }
  EXPECT_EQ(bf16->parameters.tensors().begin()->second.scalar_type(), at::kFloat)
      << "master values are fp32";
}

// Two ranks; before each step `poison` may damage rank 1's copy of the adapters. Returns rank 0's.
std::vector<StepResult> run_poisoned(const std::filesystem::path& model, double poison) {
  std::vector<StepResult> results;
  run_rank_threads(2, [&](Communicator& communicator) {
    TrainedModel trained(model, AdapterConfig(), communicator, at::kFloat, {});
    testing::randomize(trained.adapters(), 21, 0.1);
    const Tensor value = trained.adapters().parameters().front().value.detach();
    const Tensor before = value.clone();
    for (int64_t i = 0; i < 2; ++i) {
      if (communicator.rank() == 1 && i == 0) value.view(-1)[0] = poison;
      const auto rows = testing::random_rows(4, 0, 37);
      const StepResult result =
          trained.step().run(i, deal_rows(rows, communicator.rank(), 2, 2), 1e-3);
      if (i == 0) {
        EXPECT_EQ(trained.optimizer().num_updates(), result.is_skipped ? 0 : 1);
        value.copy_(before);
      }
      if (communicator.rank() == 0) results.push_back(result);
    }
  });
  return results;
}

TEST_F(TrainStepFacts, NonFiniteOnOneRankIsSkippedByAll) {
  for (const double poison : {std::nan(""), HUGE_VAL}) {
    const auto results = run_poisoned(folder_.path(), poison);
    EXPECT_TRUE(results[0].is_skipped);
    EXPECT_FALSE(results[1].is_skipped) << "the next step is a normal one";
  }
}

TEST_F(TrainStepFacts, AGradientOfFrozenExpertsNeedNotBeFinite) {
  for (const bool is_frozen : {false, true}) {
    AdapterConfig adapter;
    if (is_frozen) adapter.add_frozen_experts(3);
    TrainedModel trained = alone(adapter, at::kFloat, {});
    testing::randomize(trained.adapters(), 21, 0.1);
    trained.adapters().find(1, LinearKind::kUp)->lora_B.register_hook([](const Tensor& gradient) {
      Tensor poisoned = gradient.clone();
      poisoned[3].fill_(std::nan(""));
      return poisoned;
    });
    const auto rows = deal_rows(testing::random_rows(4, 0, 37), 0, 1, 4);
    const StepResult result = trained.step().run(0, rows, 1e-3);
    EXPECT_EQ(result.is_skipped, !is_frozen);
    EXPECT_EQ(result.nonfinite_parameter, is_frozen ? "" : "layers.1.mlp.up_proj.lora_B");
  }
}

// What the choice biases of all routers are, router by router.
std::vector<Tensor> choice_biases(const AdapterSet& adapters) {
  std::vector<Tensor> all;
  for (const LinearAdapter& linear : adapters.linears()) {
    if (linear.choice_bias.defined()) all.push_back(linear.choice_bias.detach().clone());
  }
  return all;
}

TEST_F(TrainStepFacts, ChoiceBiasesMoveTowardsTheMeanLoad) {
  AdapterConfig adapter;
  adapter.mutable_router()->set_bias_update_rate(0.25);
  TrainedModel trained = alone(adapter, at::kFloat, {});
  testing::randomize(trained.adapters(), 21, 0.3);
  const auto before = choice_biases(trained.adapters());
  const auto rows = deal_rows(testing::random_rows(4, 0, 37), 0, 1, 4);
  const StepResult result = trained.step().run(0, rows, 1e-3);
  const auto after = choice_biases(trained.adapters());
  ASSERT_EQ(std::ssize(after), trained.adapters().num_routers());
  int64_t moved_up = 0;
  for (size_t r = 0; r < after.size(); ++r) {
    const Tensor counts = result.expert_counts_RE[static_cast<int64_t>(r)].to(at::kDouble);
    const Tensor expected = before[r] + 0.25 * (counts.mean() - counts).sign().to(at::kFloat);
    EXPECT_TRUE(after[r].equal(expected)) << "router " << r;
    moved_up += (after[r] > before[r]).sum().item<int64_t>();
  }
  EXPECT_GT(moved_up, 0);
}

TEST_F(TrainStepFacts, ChoiceBiasesHaveNoPartInWeightsAndGradients) {
  AdapterConfig adapter;
  adapter.mutable_router()->set_bias_update_rate(0.25);
  const auto gradients_with = [&](double bias) {
    TrainedModel trained = alone(adapter, at::kDouble, {});
    testing::randomize(trained.adapters(), 21, 0.3);
    for (const LinearAdapter& linear : trained.adapters().linears()) {
      // The same for all experts: the choice is what it was.
      if (linear.choice_bias.defined()) linear.choice_bias.detach().fill_(bias);
    }
    const auto rows = deal_rows(testing::random_rows(4, 0, 37), 0, 1, 4);
    (void)trained.step().run(0, rows, 1e-3);
    return trained.step().gradients();
  };
  const std::vector<Tensor> without = gradients_with(0.0);
  const std::vector<Tensor> with = gradients_with(1024.0);
  for (size_t i = 0; i < with.size(); ++i) EXPECT_TRUE(with[i].equal(without[i]));
}

TEST_F(TrainStepFacts, ASkippedStepMovesNoChoiceBias) {
  AdapterConfig adapter;
  adapter.mutable_router()->set_bias_update_rate(0.25);
  adapter.mutable_router()->mutable_health()->set_every(1);
  TrainedModel trained = alone(adapter, at::kFloat, {});
  testing::randomize(trained.adapters(), 21, 0.1);
  trained.adapters().find(1, LinearKind::kUp)->lora_B.register_hook([](const Tensor& gradient) {
    return gradient * std::nan("");
  });
  const auto before = choice_biases(trained.adapters());
  const auto rows = deal_rows(testing::random_rows(4, 0, 37), 0, 1, 4);
  const StepResult result = trained.step().run(0, rows, 1e-3);
  EXPECT_TRUE(result.is_skipped);
  EXPECT_FALSE(result.routers.has_value());
  const auto after = choice_biases(trained.adapters());
  for (size_t r = 0; r < after.size(); ++r) EXPECT_TRUE(after[r].equal(before[r]));
  EXPECT_EQ(trained.step().router_health().record().steps(), 0);
}

// By hand from the rows' tasks and scripts and the recorded choices.
TEST_F(TrainStepFacts, LoadsOfGroupsAreSharesOfTheirTokensChoices) {
  AdapterConfig adapter;
  adapter.mutable_router()->mutable_health()->set_every(1);
  TrainedModel trained = alone(adapter, at::kFloat, {});
  testing::randomize(trained.adapters(), 21, 0.3);
  const auto all_rows = testing::random_rows(4, 0, 37);
  const StepResult result = trained.step().run(0, deal_rows(all_rows, 0, 1, 4), 1e-3);
  ASSERT_TRUE(result.routers.has_value());
  ASSERT_EQ(result.routers->task_loads.size(), 3u) << "of tasks that are named";
  ASSERT_EQ(result.routers->script_loads.size(), 2u) << "of scripts that are named";
  std::map<int64_t, std::vector<double>> of_tasks;
  std::map<int64_t, std::vector<double>> of_scripts;
  for (const Tensor& chosen : trained.step().choices().front().chosen_TK) {
    int64_t token = 0;
    for (const TrainRow& row : all_rows) {
      for (const TrainSequence& sequence : row) {
        std::vector<double>& of_task = of_tasks[sequence.task];
        std::vector<double>& of_script = of_scripts[sequence.script];
        of_task.resize(adapter.num_experts());
        of_script.resize(adapter.num_experts());
        for (size_t t = 0; t < sequence.ids.size(); ++t, ++token) {
          for (int64_t k = 0; k < chosen.size(1); ++k) {
            const auto expert = static_cast<size_t>(chosen[token][k].item<int64_t>());
            of_task[expert] += 1.0;
            of_script[expert] += 1.0;
          }
        }
      }
    }
  }
  const auto expect_shares = [](const std::vector<std::vector<double>>& loads,
                                std::map<int64_t, std::vector<double>>& counts) {
    for (int64_t group = 0; group < std::ssize(loads); ++group) {
      const std::vector<double>& load = loads[static_cast<size_t>(group)];
      ASSERT_EQ(load.empty(), counts[group].empty()) << "group " << group;
      const double sum = std::accumulate(counts[group].begin(), counts[group].end(), 0.0);
      for (size_t e = 0; e < load.size(); ++e) EXPECT_DOUBLE_EQ(load[e], counts[group][e] / sum);
    }
  };
  expect_shares(result.routers->task_loads, of_tasks);
  expect_shares(result.routers->script_loads, of_scripts);
}

TEST_F(TrainStepFacts, StopRequestOfOneRankReachesAll) {
  run_rank_threads(3, [&](Communicator& communicator) {
    TrainedModel trained(folder_.path(), AdapterConfig(), communicator, at::kFloat, {});
    for (int64_t i = 0; i < 2; ++i) {
      const auto rows = deal_rows(testing::random_rows(4, 0, 37), communicator.rank(), 3, 2);
      const auto stop =
          i == 1 && communicator.rank() == 2 ? TrainStep::Stop::kRequested : TrainStep::Stop::kNo;
      EXPECT_EQ(trained.step().run(i, rows, 1e-3, stop).is_stop_requested, i == 1);
    }
  });
}

TEST_F(TrainStepFacts, ClippingBoundsTheUpdateNotTheReportedNorm) {
  TrainConfig train;
  train.set_clip_norm(1e-3);
  TrainedModel trained = alone(AdapterConfig(), at::kDouble, train);
  testing::randomize(trained.adapters(), 21, 0.3);
  const StepResult result =
      trained.step().run(0, deal_rows(testing::random_rows(4, 0, 37), 0, 1, 4), 1e-3);
  EXPECT_GT(result.grad_norm, 1e-2);
  double square = 0.0;
  for (const Tensor& m : trained.optimizer().first_moments())
    square += m.square().sum().item<double>();
  EXPECT_NEAR(std::sqrt(square), (1.0 - train.adam_beta1()) * 1e-3, 1e-6);
}

TEST_F(TrainStepFacts, RowsWithoutSupervisionAreAFault) {
  TrainedModel trained = alone(AdapterConfig(), at::kFloat, TrainConfig());
  EXPECT_THROW_WITH(trained.step().run(3, deal_rows({{{{1, 2}, {0, 0}, 0}}}, 0, 1, 1), 1e-3),
                    InternalError, "step 3");
}

TEST(StepRows, AreDealtRoundRobinAndCounted) {
  std::vector<TrainRow> rows;
  for (int64_t i = 0; i < 5; ++i) rows.push_back({{{1, 2, 3}, {1, 0, 1}, i}});
  const StepRows first = deal_rows(rows, 0, 2, 2);
  const StepRows second = deal_rows(rows, 1, 2, 2);
  EXPECT_EQ(first.rows.size(), 3u);
  EXPECT_EQ(second.rows.size(), 2u);
  EXPECT_EQ(first.rows[1][0].sample, 2);
  EXPECT_EQ(first.num_micro_steps, 2);
  EXPECT_EQ(second.num_micro_steps, 2);
  EXPECT_EQ(first.step_tokens, 15);
  EXPECT_EQ(second.step_supervised, 5) << "the first token of a sample is never a target";
  EXPECT_EQ(second.step_samples, 5);
}

}  // namespace
}  // namespace molora
