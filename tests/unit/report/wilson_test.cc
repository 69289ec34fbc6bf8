#include "report/wilson.h"

#include <gtest/gtest.h>

namespace molora {
namespace {

// Worked out from the formula in decimal arithmetic.
TEST(Wilson, FollowsTheFormula) {
  const Interval half = wilson_interval(25, 50);
  EXPECT_NEAR(half.low, 0.36644, 1e-5);
  EXPECT_NEAR(half.high, 0.63356, 1e-5);
  const Interval few = wilson_interval(1, 10);
  EXPECT_NEAR(few.low, 0.01788, 1e-5);
  EXPECT_NEAR(few.high, 0.40415, 1e-5);
}

TEST(Wilson, StaysInsideZeroAndOne) {
  EXPECT_NEAR(wilson_interval(0, 50).low, 0.0, 1e-12);
  EXPECT_NEAR(wilson_interval(0, 50).high, 0.07135, 1e-5);
  EXPECT_NEAR(wilson_interval(50, 50).high, 1.0, 1e-12);
}

TEST(Wilson, NoTrialsSayNothing) {
  EXPECT_EQ(wilson_interval(0, 0).low, 0.0);
  EXPECT_EQ(wilson_interval(0, 0).high, 1.0);
}

}  // namespace
}  // namespace molora
