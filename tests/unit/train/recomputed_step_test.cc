// A step that a machine has computed wrong is computed again and leaves no trace in what is
// trained; one that is the model's own is used, or skipped, as ever.
#include <algorithm>
#include <array>
#include <cmath>
#include <memory>

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/host_name.h"
#include "support/captured_log.h"
#include "support/expect_throw.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"
#include "support/training_run.h"
#include "train/train_step.h"
#include "watch/black_box.h"
#include "watch/fault_injection.h"

namespace molora {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::RunOutcome;
using testing::RunShape;
using testing::train_on_threads;
using testing::TrainedModel;

AdapterConfig with_dropout(double balance_loss_coef) {
  AdapterConfig adapter;
  adapter.set_num_experts(4);
  adapter.set_lora_rank(3);
  adapter.set_lora_dropout(0.2);
  adapter.set_expert_dropout(0.1);
  adapter.mutable_router()->set_balance_loss_coef(balance_loss_coef);
  return adapter;
}

class RecomputedStep : public ::testing::Test {
 protected:
  RecomputedStep() {
    at::set_num_threads(1);
    testing::write_tiny_model(folder_.path(), testing::tiny_config());
  }
  testing::TempFolder folder_;
};

// --- A machine's fault ---

constexpr int64_t kSteps = 12;
constexpr int64_t kNanStep = 3;    // counted from 1
constexpr int64_t kFlipStep = 11;  // when enough norms are known

struct FaultyCase {
  RunShape shape;
  double balance_loss_coef = 0.0;
};

FaultyCase faulty_case(int num_ranks, OptimizerPlacement optimizer, double balance_loss_coef,
                       at::ScalarType type = at::kFloat) {
  FaultyCase of;
  of.shape.num_ranks = num_ranks;
  of.shape.optimizer = optimizer;
  of.shape.micro_batch_size = 2;
  of.shape.type = type;
  of.balance_loss_coef = balance_loss_coef;
  return of;
}

FaultyCase with_axes(FaultyCase of, int tp, int ep) {
  of.shape.tp = tp;
  of.shape.ep = ep;
  of.shape.layout.modes = all_groups(ExchangeMode::kTokens);
  return of;
}

class FaultyMachine : public RecomputedStep, public ::testing::WithParamInterface<FaultyCase> {};

TEST_P(FaultyMachine, LeavesTheTrainedNumbersAsTheyWouldHaveBeen) {
  const auto& [shape, balance_loss_coef] = GetParam();
  const AdapterConfig adapter = with_dropout(balance_loss_coef);
  const auto undisturbed = train_on_threads(folder_.path(), adapter, shape, kSteps, 5);
  const int faulty = shape.num_ranks - 1;
  RunShape broken = shape;
  broken.faults = fmt::format(
      "step={},rank={},phase=backward,kind=nan;step={},rank={},phase=backward,kind=bitflip",
      kNanStep, faulty, kFlipStep, faulty);
  std::unique_ptr<RunOutcome> got;
  std::string log;
  {
    const testing::CapturedLog captured;
    got = train_on_threads(folder_.path(), adapter, broken, kSteps, 5);
    log = captured.text();
  }
  EXPECT_EQ(got->rank_fault, "");
  EXPECT_EQ(testing::difference(got->parameters, undisturbed->parameters), 0.0);
  for (int64_t step = 1; step <= kSteps; ++step) {
    StepResult result = got->steps.at(static_cast<size_t>(step - 1));
    const bool is_broken = step == kNanStep || step == kFlipStep;
    ASSERT_EQ(result.check.has_value(), is_broken) << "step " << step;
    if (is_broken) {
      EXPECT_THAT(result.check->ranks, ElementsAre(faulty));
      EXPECT_EQ(result.check->num_computations, 3);
      EXPECT_EQ(result.check->median_norm.has_value(), step == kFlipStep);
    }
    result.check.reset();
    EXPECT_TRUE(testing::is_same_result(result, undisturbed->steps[static_cast<size_t>(step - 1)]))
        << "step " << step;
  }
  const std::string who =
      fmt::format("computed again: rank {} (host {}) had other bits in the gradient of layers.0.",
                  faulty, host_name());
  EXPECT_THAT(log, HasSubstr("step 3: gradient norm nan, loss "));
  EXPECT_THAT(log, HasSubstr(who));
  EXPECT_THAT(log, HasSubstr("a fault of that machine, not of the model; the second computation is "
                             "used (gradient norm "));
  EXPECT_THAT(log, HasSubstr("step 11: gradient norm "));
  EXPECT_THAT(log, HasSubstr(", median norm "));
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, FaultyMachine,
    ::testing::Values(faulty_case(1, OptimizerPlacement::kSharded, 0.0),
                      faulty_case(1, OptimizerPlacement::kReplicated, 0.05),
                      faulty_case(2, OptimizerPlacement::kSharded, 0.05),
                      faulty_case(2, OptimizerPlacement::kReplicated, 0.0),
                      faulty_case(2, OptimizerPlacement::kSharded, 0.0, at::kDouble),
                      faulty_case(4, OptimizerPlacement::kSharded, 0.0),
                      faulty_case(4, OptimizerPlacement::kReplicated, 0.05),
                      with_axes(faulty_case(4, OptimizerPlacement::kSharded, 0.05), 2, 4),
                      with_axes(faulty_case(4, OptimizerPlacement::kReplicated, 0.0), 2, 2)),
    [](const auto& of) {
      const RunShape& shape = of.param.shape;
      return fmt::format("ranks{}_tp{}_ep{}_{}_balance{}_{}", shape.num_ranks, shape.tp, shape.ep,
                         shape.optimizer == OptimizerPlacement::kSharded ? "sharded" : "replicated",
                         of.param.balance_loss_coef > 0.0 ? "On" : "Off",
                         shape.type == at::kDouble ? "fp64" : "fp32");
    });

// A step's bytes without those of the check are those of an undisturbed one.
TEST_F(RecomputedStep, SaysWhatItHasSent) {
  const testing::CapturedLog log;
  std::vector<std::array<uint64_t, 2>> sent(2);
  for (const bool is_broken : {false, true}) {
    run_rank_threads(2, [&](Communicator& world) {
      TrainedModel trained(folder_.path(), AdapterConfig(), world, at::kFloat, {});
      testing::randomize(trained.adapters(), 21, 0.1);
      if (is_broken && world.rank() == 1) {
        arm_faults(parse_faults("step=1,rank=1,phase=backward,kind=nan"), 1, 1);
      }
      const Traffic before = trained.mesh().traffic();
      const auto rows = deal_rows(testing::random_rows(4, 0, 37), world.rank(), 2, 2);
      const StepResult result = trained.step().run(0, rows, 1e-3);
      Traffic step = trained.mesh().traffic() - before;
      ASSERT_EQ(result.check.has_value(), is_broken);
      if (is_broken) {
        EXPECT_GT(result.check->traffic.total_bytes(), 0u);
        step = step - result.check->traffic;
      }
      sent[static_cast<size_t>(world.rank())][is_broken ? 1 : 0] = step.total_bytes();
    });
  }
  for (const auto& [whole, broken] : sent) EXPECT_EQ(whole, broken);
}

// --- The model's own ---

// A rank's model with a history of ordinary steps.
class Trained {
 public:
  Trained(const std::filesystem::path& model, Communicator& world, int64_t num_steps,
          double spike_factor = 50.0)
      : world_(world), trained_(model, AdapterConfig(), world, at::kFloat, options(spike_factor)) {
    testing::randomize(trained_.adapters(), 21, 0.1);
    for (int64_t i = 0; i < num_steps; ++i) EXPECT_FALSE(run().check.has_value());
  }
  StepResult run(double learning_rate = 1e-3) {
    const auto rows = testing::random_rows(4, 1000 * step_, 37);
    return trained_.step().run(step_++, deal_rows(rows, world_.rank(), world_.size(), 2),
                               learning_rate);
  }
  TrainedModel& model() { return trained_; }
  const Tensor& lora_a() { return trained_.adapters().find(1, LinearKind::kUp)->lora_A; }
  // From now on this gradient is much larger.
  void enlarge() {
    lora_a().register_hook([](const Tensor& gradient) { return gradient * 1e6; });
  }

 private:
  static TrainedModel::Options options(double spike_factor) {
    TrainedModel::Options options;
    options.train.set_spike_factor(spike_factor);
    return options;
  }
  Communicator& world_;
  TrainedModel trained_;
  int64_t step_ = 0;
};

TEST_F(RecomputedStep, ASpikeOfTheModelIsUsed) {
  std::string log;
  {
    const testing::CapturedLog captured;
    run_rank_threads(2, [&](Communicator& world) {
      Trained trained(folder_.path(), world, 8);
      trained.enlarge();
      const StepResult result = trained.run();
      ASSERT_TRUE(result.check.has_value());
      EXPECT_THAT(result.check->ranks, IsEmpty());
      EXPECT_EQ(result.check->num_computations, 2);
      EXPECT_EQ(result.check->grad_norm, result.grad_norm);
      EXPECT_EQ(result.check->loss, result.loss);
      EXPECT_FALSE(result.is_skipped);
      EXPECT_EQ(trained.model().optimizer().num_updates(), 9);
    });
    log = captured.text();
  }
  EXPECT_THAT(log, HasSubstr("step 9: gradient norm "));
  EXPECT_THAT(log, HasSubstr("computed again with the same bits: it is the model's own"));
  EXPECT_EQ(log.find("step 9"), log.rfind("step 9")) << "one rank speaks";
}

TEST_F(RecomputedStep, WithoutEnoughNormsNoneIsTooLarge) {
  const auto world = make_single_communicator("world");
  Trained trained(folder_.path(), *world, 7);
  trained.enlarge();
  EXPECT_FALSE(trained.run().check.has_value());
}

TEST_F(RecomputedStep, WithoutAFactorNothingIsComputedAgain) {
  const auto world = make_single_communicator("world");
  Trained trained(folder_.path(), *world, 8, 0.0);
  trained.enlarge();
  EXPECT_FALSE(trained.run().check.has_value());
  const at::NoGradGuard no_grad;
  trained.lora_a().detach().fill_(std::nan(""));
  const at::AutoGradMode with_grad(true);
  const StepResult result = trained.run();
  EXPECT_TRUE(result.is_skipped);
  EXPECT_FALSE(result.check.has_value());
}

TEST_F(RecomputedStep, AStepThatIsReallyNotFiniteIsSkippedAsEver) {
  const testing::CapturedLog log;
  for (const double factor : {50.0, 0.0}) {
    run_rank_threads(2, [&](Communicator& world) {
      Trained trained(folder_.path(), world, 1, factor);
      EXPECT_FALSE(trained.run(1e30).is_skipped);
      const Tensor after = trained.lora_a().detach().clone();
      for (int i = 0; i < 2; ++i) {
        const StepResult result = trained.run();
        EXPECT_TRUE(result.is_skipped);
        EXPECT_NE(result.nonfinite_parameter, "");
        EXPECT_EQ(result.check.has_value(), factor > 0.0);
        EXPECT_THAT(result.check.value_or(StepCheck()).ranks, IsEmpty());
      }
      EXPECT_EQ(trained.model().optimizer().num_updates(), 2);
      EXPECT_TRUE(trained.lora_a().equal(after));
    });
  }
}

// --- Which of three ---

// Damages the gradient of one tensor in those backward passes (counted from 1) from now on.
void damage_passes(const Tensor& value, const std::vector<int>& passes) {
  value.register_hook([passes, pass = std::make_shared<int>(0)](const Tensor& gradient) {
    ++*pass;
    if (std::find(passes.begin(), passes.end(), *pass) == passes.end()) return gradient;
    Tensor damaged = gradient.clone();
    damaged.view(-1)[0] = 1e9 + *pass * 1e6;
    return damaged;
  });
}

TEST_F(RecomputedStep, AFaultInTheSecondComputationIsFoundByTheThird) {
  const testing::CapturedLog log;
  run_rank_threads(2, [&](Communicator& world) {
    Trained trained(folder_.path(), world, 8);
    trained.enlarge();
    // One micro-step for each rank.
    if (world.rank() == 1) damage_passes(trained.lora_a(), {2});
    const StepResult result = trained.run();
    ASSERT_TRUE(result.check.has_value());
    EXPECT_THAT(result.check->ranks, ElementsAre(1));
    EXPECT_EQ(result.grad_norm, result.check->grad_norm) << "the first computation is used";
  });
  EXPECT_THAT(log.text(), HasSubstr("rank 1 (host"));
  EXPECT_THAT(log.text(), HasSubstr("layers.1.mlp.up_proj.lora_A"));
  EXPECT_THAT(log.text(), HasSubstr("the first computation is used"));
}

TEST_F(RecomputedStep, ThreeResultsAreAFault) {
  const testing::CapturedLog log;
  const auto body = [&](Communicator& world) {
    Trained trained(folder_.path(), world, 8);
    if (world.rank() == 1) damage_passes(trained.lora_a(), {1, 2, 3});
    EXPECT_THROW_WITH(trained.run(), InternalError,
                      "step 9 was computed three times and came to three results", "rank 1 (host ",
                      "layers.1.mlp.up_proj.lora_A", "Nothing was updated");
    EXPECT_EQ(trained.model().optimizer().num_updates(), 8);
  };
  run_rank_threads(2, body);
  EXPECT_THAT(log.text(), Not(HasSubstr("is used")));
}

// --- Points ---

TEST_F(RecomputedStep, EveryPhaseOfAStepHasAPointForFaults) {
  const testing::CapturedLog log;
  for (const std::string phase : {"forward", "backward", "sync", "update"}) {
    RunShape shape;
    shape.num_ranks = 2;
    shape.faults = "step=2,rank=1,kind=throw,phase=" + phase;
    EXPECT_THROW_WITH(train_on_threads(folder_.path(), AdapterConfig(), shape, 3, 5), InternalError,
                      "thrown on request (MOLORA_FAULT): throw in step 2, phase " + phase);
  }
}

TEST_F(RecomputedStep, EachMicroStepIsNotedInTheBlackBox) {
  const auto box = BlackBox::make();
  TrainConfig train;
  train.set_micro_batch_size(1);
  TrainedModel trained(folder_.path(), AdapterConfig(), Mesh::single(), {}, at::kFloat,
                       {.train = train});
  const StepRows rows = deal_rows(testing::random_rows(5, 0, 37), 0, 1, 1);
  ASSERT_EQ(rows.num_micro_steps, 5);
  bind_black_box(box.get());
  const uint64_t before = box->state().progress();
  trained.step().run(0, rows, 1e-3);
  bind_black_box(nullptr);
  EXPECT_GE(box->state().progress(), before + 5);
}

}  // namespace
}  // namespace molora
