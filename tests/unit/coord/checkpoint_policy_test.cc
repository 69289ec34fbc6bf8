#include "coord/checkpoint_policy.h"

#include <gtest/gtest.h>

namespace molora {
namespace {

TEST(CheckpointPolicy, SavesAtIntervalsAtTheEndOnRequestAndForTheBest) {
  CheckpointConfig config;
  config.set_every(10);
  EXPECT_EQ(checkpoint_reason(config, {.step = 9}, 1e9), "");
  EXPECT_EQ(checkpoint_reason(config, {.step = 20}, 0), "interval");
  EXPECT_EQ(checkpoint_reason(config, {.step = 9, .is_last = true}, 0), "end of the run");
  EXPECT_EQ(checkpoint_reason(config, {.step = 9, .is_stop_requested = true}, 0), "stop requested");
  EXPECT_EQ(checkpoint_reason(config, {.step = 20, .is_new_best = true}, 0),
            "best held-out loss so far");
  config.set_keep_best(false);
  EXPECT_EQ(checkpoint_reason(config, {.step = 9, .is_new_best = true}, 0), "");
  config.set_every(0);
  EXPECT_EQ(checkpoint_reason(config, {.step = 20}, 1e9), "");
  config.set_every_minutes(1.5);
  EXPECT_EQ(checkpoint_reason(config, {.step = 20}, 1.4), "");
  EXPECT_EQ(checkpoint_reason(config, {.step = 20}, 1.5), "interval of time");
}

TEST(CheckpointPolicy, KeepsTheNewestTheBestTheMilestonesAndTheOneResumedFrom) {
  CheckpointConfig config;
  config.set_keep_last(2);
  const std::vector<int64_t> steps = {10, 20, 30, 40, 50};
  using Steps = std::vector<int64_t>;
  EXPECT_EQ(steps_to_remove(config, steps, 50, {}), (Steps{10, 20, 30}));
  EXPECT_EQ(steps_to_remove(config, steps, 50, {.best = 20, .resumed = 10}), (Steps{30}));
  config.set_keep_every(20);
  EXPECT_EQ(steps_to_remove(config, steps, 50, {}), (Steps{10, 30}));
  config.set_keep_every(0);
  config.set_keep_best(false);
  EXPECT_EQ(steps_to_remove(config, steps, 50, {.best = 20, .resumed = {}}), (Steps{10, 20, 30}));
  EXPECT_TRUE(steps_to_remove(config, {10}, 10, {}).empty());
  EXPECT_TRUE(steps_to_remove(config, {}, 10, {}).empty());
}

// A run that passed over damaged checkpoints makes these steps again: what lies ahead of it must
// not push out what it has just saved.
TEST(CheckpointPolicy, StepsAheadOfTheRunNeitherCountNorGo) {
  CheckpointConfig config;
  config.set_keep_last(1);
  EXPECT_EQ(steps_to_remove(config, {10, 20, 30, 40}, 20, {}), (std::vector<int64_t>{10}));
}

TEST(CheckpointPolicy, ResumesFromTheNewestThatIsWhole) {
  std::vector<int64_t> passed_over;
  const auto damage = [](int64_t step) { return step >= 30 ? "torn" : ""; };
  const auto note = [&](int64_t step, const std::string& what) {
    EXPECT_EQ(what, "torn");
    passed_over.push_back(step);
  };
  EXPECT_EQ(newest_valid_step({10, 20, 30, 40}, damage, note), 20);
  EXPECT_EQ(passed_over, (std::vector<int64_t>{40, 30}));
  EXPECT_EQ(newest_valid_step({30}, damage, note), std::nullopt);
}

}  // namespace
}  // namespace molora
