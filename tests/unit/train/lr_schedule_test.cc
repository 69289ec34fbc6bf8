#include "train/lr_schedule.h"

#include <gtest/gtest.h>

namespace molora {
namespace {

TrainConfig config_of(TrainConfig::Schedule schedule) {
  TrainConfig config;
  config.set_schedule(schedule);
  config.set_learning_rate(1.0);
  config.set_warmup_steps(4);
  config.set_min_learning_rate_ratio(0.1);
  return config;
}

TEST(LearningRate, RisesLinearlyOverTheWarmUp) {
  const TrainConfig config = config_of(TrainConfig::cosine);
  for (int64_t step = 0; step < 4; ++step) {
    EXPECT_DOUBLE_EQ(learning_rate(config, step, 20), static_cast<double>(step + 1) / 4.0);
  }
}

TEST(LearningRate, EndsAtTheFloor) {
  for (const auto schedule : {TrainConfig::cosine, TrainConfig::linear}) {
    EXPECT_NEAR(learning_rate(config_of(schedule), 4, 20), 1.0, 1e-12);
    EXPECT_NEAR(learning_rate(config_of(schedule), 19, 20), 0.1, 1e-12);
    EXPECT_NEAR(learning_rate(config_of(schedule), 25, 20), 0.1, 1e-12);
  }
}

TEST(LearningRate, HalfWayIsTheMiddle) {
  TrainConfig config = config_of(TrainConfig::linear);
  config.set_warmup_steps(1);
  EXPECT_NEAR(learning_rate(config, 11, 22), 0.55, 1e-12);
  config.set_schedule(TrainConfig::cosine);
  EXPECT_NEAR(learning_rate(config, 11, 22), 0.55, 1e-12);
}

TEST(LearningRate, ConstantStays) {
  EXPECT_EQ(learning_rate(config_of(TrainConfig::constant), 4, 20), 1.0);
  EXPECT_EQ(learning_rate(config_of(TrainConfig::constant), 19, 20), 1.0);
}

TEST(LearningRate, RatioGivesTheWarmUpWhenStepsAreNotSet) {
  TrainConfig config;
  config.set_warmup_ratio(0.03);
  EXPECT_EQ(warmup_steps(config, 100), 3);
  EXPECT_EQ(warmup_steps(config, 10), 1);
  config.set_warmup_ratio(0);
  EXPECT_EQ(warmup_steps(config, 10), 0);
}

TEST(LearningRate, OneStepRunsAtThePeak) {
  TrainConfig config;
  config.set_learning_rate(0.5);
  EXPECT_EQ(learning_rate(config, 0, 1), 0.5);
}

}  // namespace
}  // namespace molora
