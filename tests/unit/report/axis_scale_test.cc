#include "report/axis_scale.h"

#include <limits>

#include <gmock/gmock.h>

namespace molora {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> texts(const AxisScale& scale) {
  std::vector<std::string> all;
  for (const Tick& tick : scale.ticks()) all.push_back(tick.text);
  return all;
}

TEST(AxisScale, TicksAreRoundNumbersThatHoldTheValues) {
  const AxisScale scale = AxisScale::linear(0.13, 0.87, 4, Quantity::kNumber);
  EXPECT_DOUBLE_EQ(scale.low(), 0.0);
  EXPECT_DOUBLE_EQ(scale.high(), 1.0);
  EXPECT_THAT(texts(scale), ElementsAre("0", "0.2", "0.4", "0.6", "0.8", "1.0"));
}

// 1 - (0.25 - 0) / (1 - 0): a quarter up; logarithmic: log(10) / log(1000).
TEST(AxisScale, PositionsAreLinearOrByDecades) {
  EXPECT_DOUBLE_EQ(AxisScale::linear(0, 1, 4, Quantity::kNumber).position(0.25), 0.25);
  const AxisScale decades = AxisScale::logarithmic(0.1, 100, Quantity::kNumber);
  EXPECT_NEAR(decades.position(1), 1.0 / 3, 1e-12);
  EXPECT_DOUBLE_EQ(decades.position(0.0), 0.0);
  EXPECT_THAT(texts(decades), ElementsAre("0.1", "1", "10", "100"));
}

TEST(AxisScale, ValuesBeyondTheAxisStayOnIt) {
  const AxisScale scale = AxisScale::steps(10, 20, 4);
  EXPECT_DOUBLE_EQ(scale.position(5), 0.0);
  EXPECT_DOUBLE_EQ(scale.position(25), 1.0);
}

TEST(AxisScale, OneValueHasRoomAroundIt) {
  const AxisScale scale = AxisScale::linear(2, 2, 4, Quantity::kNumber);
  EXPECT_LT(scale.low(), 2);
  EXPECT_GT(scale.high(), 2);
  EXPECT_GT(AxisScale::linear(0, 0, 4, Quantity::kNumber).high(), 0);
  EXPECT_GT(AxisScale::steps(7, 7, 4).high(), 7);
}

TEST(AxisScale, StepsHaveTicksAtWholeNumbers) {
  EXPECT_THAT(texts(AxisScale::steps(1, 4, 8)), ElementsAre("1", "2", "3", "4"));
  EXPECT_THAT(texts(AxisScale::steps(0, 20000, 4)),
              ElementsAre("0", "5 k", "10 k", "15 k", "20 k"));
}

TEST(AxisScale, StepsBeyondWhatADoubleCountsHaveAnEnd) {
  EXPECT_LE(AxisScale::steps(9.1e18, 9.2e18, 8).ticks().size(), 9u);
  EXPECT_LE(AxisScale::steps(9.1e18, 9.1e18, 8).ticks().size(), 9u);
}

TEST(AxisScale, SmallNumbersHaveOneForm) {
  EXPECT_THAT(texts(AxisScale::linear(0, 0.001, 4, Quantity::kNumber)),
              ElementsAre("0", "0.0005", "0.0010"));
  EXPECT_THAT(texts(AxisScale::linear(0, 0.0002, 2, Quantity::kNumber)),
              ElementsAre("0", "1e-04", "2e-04"));
}

TEST(AxisScale, NumbersAreWrittenForPeople) {
  EXPECT_EQ(quantity_text(1.23456, Quantity::kNumber), "1.235");
  EXPECT_EQ(quantity_text(0.000015, Quantity::kNumber), "1.50e-05");
  EXPECT_EQ(quantity_text(0.25, Quantity::kShare), "25.0 %");
  EXPECT_EQ(quantity_text(1234567, Quantity::kCount), "1.2 M");
  EXPECT_EQ(quantity_text(12345, Quantity::kCount), "12,345");
  EXPECT_EQ(quantity_text(0.351, Quantity::kSeconds), "351 ms");
  EXPECT_EQ(quantity_text(1610612736, Quantity::kBytes), "1.50 GiB");
  EXPECT_EQ(quantity_text(34500, Quantity::kRate), "34.5 k");
  EXPECT_EQ(quantity_text(std::numeric_limits<double>::quiet_NaN(), Quantity::kNumber), "-");
}

}  // namespace
}  // namespace molora
