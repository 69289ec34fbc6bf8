#include "coord/checkpoint_policy.h"

#include <gtest/gtest.h>

namespace molora {
namespace {

TEST(CheckpointPolicy, SavesAtIntervalsAtTheEndOnRequestAndForTheBest) {
  CheckpointConfig config;
  config.set_every(10);
  EXPECT_EQ(checkpoint_reason(config, {.step = 9}), "");
  EXPECT_EQ(checkpoint_reason(config, {.step = 20}), "interval");
  EXPECT_EQ(checkpoint_reason(config, {.step = 9, .is_last = true}), "end of the run");
  EXPECT_EQ(checkpoint_reason(config, {.step = 9, .is_stop_requested = true}), "stop requested");
  EXPECT_NE(checkpoint_reason(config, {.step = 9, .is_new_best = true}), "");
  config.set_keep_best(false);
  EXPECT_EQ(checkpoint_reason(config, {.step = 9, .is_new_best = true}), "");
  config.set_every(0);
  EXPECT_EQ(checkpoint_reason(config, {.step = 20}), "");
}

TEST(CheckpointPolicy, KeepsTheNewestTheBestAndTheOneResumedFrom) {
  CheckpointConfig config;
  config.set_keep_last(2);
  const std::vector<int64_t> steps = {10, 20, 30, 40, 50};
  EXPECT_EQ(steps_to_remove(config, steps, {}, {}), (std::vector<int64_t>{10, 20, 30}));
  EXPECT_EQ(steps_to_remove(config, steps, 20, 10), (std::vector<int64_t>{30}));
  config.set_keep_best(false);
  EXPECT_EQ(steps_to_remove(config, steps, 20, {}), (std::vector<int64_t>{10, 20, 30}));
  EXPECT_TRUE(steps_to_remove(config, {10}, {}, {}).empty());
  EXPECT_TRUE(steps_to_remove(config, {}, {}, {}).empty());
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
