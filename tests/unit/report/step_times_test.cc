#include "report/step_times.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

TEST(Quantile, LiesBetweenTwoValuesLinearly) {
  const std::vector<double> values = {40, 10, 30, 20};
  EXPECT_DOUBLE_EQ(quantile(values, 0), 10);
  EXPECT_DOUBLE_EQ(quantile(values, 0.5), 25);
  EXPECT_DOUBLE_EQ(quantile(values, 0.25), 17.5);
  EXPECT_DOUBLE_EQ(quantile(values, 1), 40);
  EXPECT_DOUBLE_EQ(median({7}), 7);
}

TEST(Quantile, NeedsAValue) { EXPECT_THROW_WITH(median({}), InternalError, "0 values, share 0.5"); }

TEST(Spread, HasTheQuartiles) {
  const Spread spread = spread_of({5, 1, 2, 4, 3});
  EXPECT_DOUBLE_EQ(spread.least, 1);
  EXPECT_DOUBLE_EQ(spread.first_quartile, 2);
  EXPECT_DOUBLE_EQ(spread.median, 3);
  EXPECT_DOUBLE_EQ(spread.third_quartile, 4);
  EXPECT_DOUBLE_EQ(spread.most, 5);
}

TEST(PairedRatio, OfProportionalTimesIsCertain) {
  const TimeRatio ratio = paired_ratio({1, 2, 3, 4}, {1.5, 3, 4.5, 6}, 1);
  EXPECT_NEAR(ratio.ratio, 1.5, 1e-12);
  EXPECT_NEAR(ratio.low, 1.5, 1e-12);
  EXPECT_NEAR(ratio.high, 1.5, 1e-12);
}

TEST(PairedRatio, OfNoisyTimesHasAnIntervalAroundIt) {
  const std::vector<double> first = {1.0, 1.1, 0.9, 1.3, 1.0, 0.95, 1.05, 1.2};
  const std::vector<double> second = {1.2, 1.1, 1.3, 1.25, 1.0, 1.15, 1.35, 1.1};
  const TimeRatio ratio = paired_ratio(first, second, 1);
  EXPECT_LT(ratio.low, ratio.ratio);
  EXPECT_GT(ratio.high, ratio.ratio);
  EXPECT_EQ(paired_ratio(first, second, 1).low, ratio.low);
}

TEST(PairedRatio, NeedsPairs) {
  EXPECT_THROW_WITH(paired_ratio({1}, {1, 2}, 1), InternalError, "first.size()");
}

}  // namespace
}  // namespace molora
