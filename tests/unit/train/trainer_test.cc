#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "comm/thread_communicator.h"
#include "support/expect_throw.h"
#include "support/loaded_model.h"
#include "support/random_adapters.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"
#include "support/training_run.h"

namespace molora {
namespace {

using ::testing::ElementsAre;

constexpr int64_t kSamples = 24;

RowSource random_source() {
  RowSource source;
  source.num_samples = kSamples;
  source.plan = [](int64_t epoch) {
    std::vector<std::vector<uint32_t>> rows;
    for (uint32_t i = 0; i < kSamples; ++i) {
      rows.push_back({static_cast<uint32_t>((i * 5 + epoch) % kSamples)});
    }
    return rows;
  };
  source.fetch = [](uint32_t sample) { return testing::random_rows(1, 100 * sample, 37)[0][0]; };
  return source;
}

// One rank's training with everything that outlives a step.
class Job {
 public:
  Job(const std::filesystem::path& model, Communicator& communicator, const TrainConfig& train,
      RowSource source = random_source())
      : train_(train),
        trained_(model, AdapterConfig(), communicator, at::kFloat, {.train = train_}),
        feeder_(std::move(source), train_.global_batch_size()) {
    testing::randomize(trained_.adapters(), 21, 0.1);
  }

  Trainer::End run(Progress& progress, int64_t num_steps, const TrainerHooks& hooks) {
    Trainer trainer({trained_.step(), feeder_, trained_.mesh(), trained_.optimizer()},
                    {train_, eval, num_steps, {}}, hooks);
    return trainer.run(progress);
  }

  EvalConfig eval;
  AdapterSet& adapters() { return trained_.adapters(); }
  AdamW& optimizer() { return trained_.optimizer(); }

 private:
  TrainConfig train_;
  testing::TrainedModel trained_;
  RowFeeder feeder_;
};

class TrainerTest : public ::testing::Test {
 protected:
  TrainerTest() {
    testing::write_tiny_model(folder_.path(), testing::tiny_config());
    train_.set_global_batch_size(4);
    train_.set_micro_batch_size(2);
    train_.set_learning_rate(1e-3);
  }
  testing::TempFolder folder_;
  TrainConfig train_;
};

TaskResult task_with_loss(double loss) {
  TaskResult result;
  result.set_task("all");
  result.set_loss_sum(loss * 10);
  result.set_supervised(10);
  return result;
}

TEST_F(TrainerTest, AStoppedAndContinuedRunGivesTheSameBits) {
  run_rank_threads(2, [&](Communicator& communicator) {
    std::vector<double> whole_losses;
    TrainerHooks hooks;
    hooks.on_step = [&](const StepResult& result, const Progress&, double) {
      whole_losses.push_back(result.loss);
    };
    Job whole(folder_.path(), communicator, train_);
    Progress whole_progress;
    EXPECT_EQ(whole.run(whole_progress, 9, hooks), Trainer::End::kDone);

    std::vector<double> losses;
    hooks.on_step = [&](const StepResult& result, const Progress&, double) {
      losses.push_back(result.loss);
    };
    Job stopped(folder_.path(), communicator, train_);
    Progress progress;
    hooks.is_stop_requested = [&] { return communicator.rank() == 1 && losses.size() == 4; };
    EXPECT_EQ(stopped.run(progress, 9, hooks), Trainer::End::kStopped);
    EXPECT_EQ(progress.step(), 5);

    Job resumed(folder_.path(), communicator, train_);
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < resumed.adapters().parameters().size(); ++i) {
      resumed.adapters().parameters()[i].value.copy_(stopped.adapters().parameters()[i].value);
    }
    for (size_t i = 0; i < resumed.optimizer().parameters().size(); ++i) {
      resumed.optimizer().first_moments()[i].copy_(stopped.optimizer().first_moments()[i]);
      resumed.optimizer().second_moments()[i].copy_(stopped.optimizer().second_moments()[i]);
    }
    resumed.optimizer().set_num_updates(progress.optimizer_updates());
    hooks.is_stop_requested = [] { return false; };
    {
      const at::AutoGradMode with_grad(true);
      EXPECT_EQ(resumed.run(progress, 9, hooks), Trainer::End::kDone);
    }
    EXPECT_EQ(losses, whole_losses);
    EXPECT_EQ(progress.SerializeAsString(), whole_progress.SerializeAsString());
    for (size_t i = 0; i < resumed.adapters().parameters().size(); ++i) {
      EXPECT_TRUE(
          resumed.adapters().parameters()[i].value.equal(whole.adapters().parameters()[i].value));
    }
  });
}

TEST_F(TrainerTest, EvaluatesBeforeEveryFewStepsAndAtTheEnd) {
  const auto world = make_single_communicator("world");
  Job run(folder_.path(), *world, train_);
  run.eval.set_every(2);
  const std::vector<double> losses = {5.0, 3.0, 4.0, 2.0};
  size_t evaluated = 0;
  std::vector<int64_t> at;
  std::vector<int64_t> best;
  TrainerHooks hooks;
  hooks.evaluate = [&] { return std::vector<TaskResult>{task_with_loss(losses[evaluated++])}; };
  hooks.on_evaluated = [&](int64_t step, const std::vector<TaskResult>&) { at.push_back(step); };
  hooks.on_boundary = [&](const StepBoundary& boundary, const Progress&) {
    if (boundary.is_new_best) best.push_back(boundary.steps_done);
  };
  Progress progress;
  run.run(progress, 5, hooks);
  EXPECT_THAT(at, ElementsAre(0, 2, 4, 5));
  EXPECT_THAT(best, ElementsAre(2, 5));
  EXPECT_EQ(progress.best_eval_step(), 5);
  EXPECT_EQ(progress.eval_before(0).loss_sum(), 50.0);
}

TEST_F(TrainerTest, EveryStepHasItsBoundaryAndTheLastSaysSo) {
  const auto world = make_single_communicator("world");
  Job run(folder_.path(), *world, train_);
  std::vector<int64_t> boundaries;
  std::vector<int64_t> last;
  TrainerHooks hooks;
  hooks.on_boundary = [&](const StepBoundary& boundary, const Progress& progress) {
    EXPECT_EQ(boundary.steps_done, progress.step());
    boundaries.push_back(boundary.steps_done);
    if (boundary.is_last) last.push_back(boundary.steps_done);
  };
  Progress progress;
  run.run(progress, 3, hooks);
  EXPECT_THAT(boundaries, ElementsAre(1, 2, 3));
  EXPECT_THAT(last, ElementsAre(3));
}

// Waits in each step for rows of the step after it: with rows that are read when they are needed,
// it would wait in vain.
TEST_F(TrainerTest, RowsOfTheNextStepAreReadWhileThisOneIsUnderWay) {
  const auto world = make_single_communicator("world");
  std::mutex mutex;
  std::condition_variable read;
  int64_t num_read = 0;
  RowSource source = random_source();
  source.fetch = [&, fetch = source.fetch](uint32_t sample) {
    TrainSequence sequence = fetch(sample);
    const std::lock_guard lock(mutex);
    ++num_read;
    read.notify_all();
    return sequence;
  };
  Job run(folder_.path(), *world, train_, std::move(source));
  constexpr int64_t kSteps = 4;
  int64_t steps = 0;
  TrainerHooks hooks;
  hooks.on_step = [&](const StepResult&, const Progress&, double) {
    ++steps;
    const int64_t wanted = std::min(kSteps, steps + 1) * train_.global_batch_size();
    std::unique_lock lock(mutex);
    EXPECT_TRUE(read.wait_for(lock, std::chrono::minutes(1), [&] { return num_read >= wanted; }));
  };
  Progress progress;
  run.run(progress, kSteps, hooks);
  EXPECT_EQ(num_read, kSteps * train_.global_batch_size());
}

TEST_F(TrainerTest, ProgressIsThatOfTheStepsDoneWhenRowsAheadCannotBeRead) {
  const auto world = make_single_communicator("world");
  RowSource source = random_source();
  source.fetch = [fetch = source.fetch, count = 0](uint32_t sample) mutable {
    if (++count > 10) throw DataError("sample " + std::to_string(sample) + " cannot be read");
    return fetch(sample);
  };
  Job run(folder_.path(), *world, train_, std::move(source));
  Progress progress;
  EXPECT_THROW_WITH(run.run(progress, 9, {}), DataError, "cannot be read");
  EXPECT_EQ(progress.step(), 2);
  EXPECT_EQ(progress.next_row(), 8);
  EXPECT_EQ(progress.samples_seen(), 8);
}

// A router weight of infinity poisons every loss; all ranks skip, nothing changes, then they stop.
TEST_F(TrainerTest, StepsThatAreNotFiniteAreSkippedCountedAndStopTheRun) {
  train_.set_max_nonfinite_steps(3);
  run_rank_threads(2, [&](Communicator& communicator) {
    Job run(folder_.path(), communicator, train_);
    const at::NoGradGuard no_grad;
    const Parameter& poisoned = run.adapters().parameters()[1];
    poisoned.value.view(-1)[0] = std::numeric_limits<float>::infinity();
    const at::Tensor untouched = run.adapters().parameters()[4].value.clone();
    int64_t skipped = 0;
    TrainerHooks hooks;
    hooks.on_step = [&](const StepResult& result, const Progress&, double) {
      skipped += result.is_skipped ? 1 : 0;
    };
    Progress progress;
    const at::AutoGradMode with_grad(true);
    EXPECT_THROW_WITH(run.run(progress, 9, hooks), NumericsError,
                      "3 steps in a row were not finite", "layers.0.");
    EXPECT_EQ(skipped, 3);
    EXPECT_EQ(progress.skipped_steps(), 3);
    EXPECT_EQ(progress.optimizer_updates(), 0);
    EXPECT_TRUE(run.adapters().parameters()[4].value.equal(untouched));
  });
}

}  // namespace
}  // namespace molora
