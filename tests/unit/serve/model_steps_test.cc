#include "serve/model_steps.h"

#include <future>
#include <map>
#include <random>

#include <gtest/gtest.h>

#include "generate/generator.h"
#include "support/loaded_model.h"
#include "support/random_adapters.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace molora {
namespace {

using Clock = Scheduler::Clock;
using Ids = std::vector<int32_t>;

// Two adapters over the same base, in fp64: what is compared are tokens, and sums are rounded
// differently in batches of different sizes.
class ModelStepsTest : public ::testing::Test {
 protected:
  ModelStepsTest() {
    testing::write_tiny_model(folder_.path(), testing::tiny_config());
    for (uint64_t seed = 5; seed < 7; ++seed) {
      loaded_.push_back(
          std::make_unique<testing::LoadedModel>(folder_.path(), AdapterConfig(), at::kDouble));
      testing::randomize(loaded_.back()->adapters(), seed);
      networks_.push_back(&loaded_.back()->model());
    }
    for (int32_t i = 0; i < 24; ++i) works_.push_back(work(i));
  }

  // Greedy and drawn, of one and of several choices, short and long.
  static PromptWork work(int32_t i) {
    PromptWork work;
    work.model = static_cast<size_t>(i % 2);
    for (int32_t t = 0; t < 1 + i % 7; ++t) work.prompt.push_back((11 * i + 5 * t + 1) % 36);
    work.options.sampling = {i % 3 == 0 ? 0.0 : 1.0, i % 5, 0.95, static_cast<uint64_t>(i)};
    work.options.max_new_tokens = 1 + (7 * i) % 20;
    work.options.stop_ids = {36};
    work.num_choices = 1 + i % 2;
    return work;
  }

  // The tokens of one choice when nothing else is there.
  Ids alone(const PromptWork& work, int64_t choice) const {
    SequenceBatch batch(*networks_[work.model]);
    batch.add({1, work.prompt, work.options, choice});
    Ids ids;
    while (!batch.empty()) {
      for (const NewToken& next : batch.step()) {
        if (next.token) ids.push_back(*next.token);
      }
    }
    return ids;
  }

  testing::TempFolder folder_;
  std::vector<std::unique_ptr<testing::LoadedModel>> loaded_;
  std::vector<const CausalLM*> networks_;
  std::vector<PromptWork> works_;
  std::unique_ptr<Communicator> world_ = make_single_communicator("world");
};

// A request under way, and what has come of it.
struct Running {
  Running(Scheduler& scheduler, const PromptWork& work_in)
      : work(work_in), ids(static_cast<size_t>(work.num_choices)), ticket(scheduler, work) {}
  void collect() {
    for (const WorkEvent& event : ticket.wait(Clock::now())) {
      if (event.token) ids[event.choice].push_back(*event.token);
      num_ended += event.end ? 1 : 0;
    }
  }
  PromptWork work;
  std::vector<Ids> ids;
  int64_t num_ended = 0;
  Scheduler::Ticket ticket;
};

TEST_F(ModelStepsTest, WhateverComesAndGoesEachGetsItsTokensAsAlone) {
  for (const unsigned seed : {1u, 2u, 3u}) {
    std::mt19937 dice(seed);
    std::vector<size_t> order(works_.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), dice);
    Scheduler scheduler(2, {.max_running = 5, .prompt_tokens_step = 9});
    ModelSteps steps(networks_, *world_);
    std::map<size_t, std::unique_ptr<Running>> running;
    size_t num_come = 0;
    size_t num_compared = 0;
    while (num_come < order.size() || !running.empty()) {
      for (size_t i = dice() % 3; i > 0 && num_come < order.size(); --i, ++num_come) {
        const size_t which = order[num_come];
        running.emplace(which, std::make_unique<Running>(scheduler, works_[which]));
      }
      if (const auto plan = scheduler.next_step(Clock::now())) {
        scheduler.deliver(plan->model, steps.make_step(*plan));
      }
      for (auto item = running.begin(); item != running.end();) {
        Running& one = *item->second;
        one.collect();
        const bool is_done = one.num_ended == one.work.num_choices;
        for (int64_t c = 0; is_done && c < one.work.num_choices; ++c, ++num_compared) {
          EXPECT_EQ(one.ids[static_cast<size_t>(c)], alone(one.work, c))
              << "request " << item->first << " choice " << c;
        }
        // Some clients go away in the middle.
        const bool leaves = is_done || (item->first % 6 == 4 && dice() % 4 == 0);
        item = leaves ? running.erase(item) : std::next(item);
      }
    }
    EXPECT_GT(num_compared, 25u);
    EXPECT_TRUE(scheduler.is_idle());
  }
}

TEST_F(ModelStepsTest, AdaptersGiveTheirOwnAnswers) {
  PromptWork other = works_[3];
  other.model = 1 - other.model;
  EXPECT_NE(alone(works_[3], 0), alone(other, 0));
  EXPECT_NE(alone(works_[13], 0), alone(works_[13], 1)) << "so do draws";
}

TEST_F(ModelStepsTest, LeadsUntilAskedToStopAndEndsWhatIsUnderWay) {
  Scheduler scheduler(2, {});
  ModelSteps steps(networks_, *world_);
  std::atomic<bool> is_asked = false;
  auto leading = std::async(std::launch::async, [&] {
    steps.lead(scheduler, {[&] { return is_asked.load(); }, std::chrono::hours(1)});
  });
  Running one(scheduler, works_[7]);
  is_asked = true;
  leading.get();
  one.collect();
  EXPECT_EQ(one.num_ended, one.work.num_choices);
  EXPECT_EQ(one.ids[0], alone(works_[7], 0));
  EXPECT_TRUE(scheduler.is_closed());
}

TEST_F(ModelStepsTest, GraceEndsWhatTakesTooLong) {
  Scheduler scheduler(2, {});
  ModelSteps steps(networks_, *world_);
  Running one(scheduler, works_[7]);
  steps.lead(scheduler, {[] { return true; }, std::chrono::milliseconds(0)});
  EXPECT_FALSE(scheduler.is_idle());
}

}  // namespace
}  // namespace molora
