#include "report/progress_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace molora {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST(ProgressLine, DurationsReadWell) {
  EXPECT_EQ(format_duration(-3), "0s");
  EXPECT_EQ(format_duration(59.4), "59s");
  EXPECT_EQ(format_duration(59.6), "1:00");
  EXPECT_EQ(format_duration(725), "12:05");
  EXPECT_EQ(format_duration(12309), "3:25:09");
  EXPECT_EQ(format_duration(2.5 * 86400), "2d 12h");
}

TEST(ProgressLine, SpeedForgetsOldSteps) {
  SpeedMeter meter;
  for (int i = 0; i < 10; ++i) meter.add(100, 100.0);
  for (int i = 0; i < 200; ++i) meter.add(100, 1.0);
  EXPECT_NEAR(meter.tokens_per_second(), 100.0, 1.0);
  EXPECT_NEAR(meter.seconds_left(60), 60.0, 1.0);
}

TEST(ProgressLine, SaysStepLossSpeedAndTimeLeft) {
  SpeedMeter meter;
  meter.add(24600, 2.0);
  const ProgressSample sample{.step = 40, .loss = 2.34512, .learning_rate = 1.8e-4};
  EXPECT_EQ(progress_text(sample, 100, meter, 0),
            "step 40/100  loss 2.3451  lr 1.80e-04  12.3k tok/s  ETA 2:00");
  EXPECT_THAT(progress_text(sample, 100, meter, 120), StartsWith("[========            ]  40%"));
}

TEST(ProgressLine, NeverWiderThanTheTerminal) {
  SpeedMeter meter;
  meter.add(10, 1.0);
  const ProgressSample sample{.step = 40, .loss = 2.5};
  for (const int columns : {10, 40, 79, 80, 81, 200}) {
    EXPECT_LE(progress_text(sample, 100, meter, columns).size(), static_cast<size_t>(columns));
  }
}

TEST(ProgressLine, ASkippedStepIsSaid) {
  const ProgressSample sample{.step = 3, .loss = 0.0, .is_skipped = true};
  EXPECT_THAT(progress_text(sample, 100, SpeedMeter(), 0), HasSubstr("not finite, skipped"));
  EXPECT_THAT(progress_text(sample, 100, SpeedMeter(), 0), Not(HasSubstr("loss 0")));
}

}  // namespace
}  // namespace molora
