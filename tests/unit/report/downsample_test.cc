#include "report/downsample.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace molora {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::vector<Point> wave(size_t count) {
  std::vector<Point> points;
  for (size_t i = 0; i < count; ++i) {
    const auto x = static_cast<double>(i);
    points.push_back({x, std::sin(x / 50) + (i == 7777 ? 40 : 0)});
  }
  return points;
}

TEST(Downsample, NoValueLiesOutsideItsBand) {
  const std::vector<Point> series = wave(10007);
  const std::vector<BandPoint> band = value_band(series, 100);
  const size_t size = values_per_part(series.size(), 100);
  EXPECT_EQ(size, 101u);
  EXPECT_EQ(band.size(), 100u);
  for (size_t i = 0; i < series.size(); ++i) {
    EXPECT_LE(band[i / size].low, series[i].y);
    EXPECT_GE(band[i / size].high, series[i].y);
  }
  const auto highest = std::max_element(
      band.begin(), band.end(), [](const auto& a, const auto& b) { return a.high < b.high; });
  EXPECT_GT(highest->high, 39);  // one step among ten thousand is still there
}

TEST(Downsample, AShortSeriesStaysAsItIs) {
  const std::vector<BandPoint> band = value_band({{1, 5}, {2, 3}}, 10);
  ASSERT_EQ(band.size(), 2u);
  EXPECT_EQ(band[1].x, 2);
  EXPECT_EQ(band[1].low, 3);
  EXPECT_EQ(band[1].high, 3);
}

TEST(Downsample, WhatIsNotFiniteTakesNoPart) {
  const std::vector<BandPoint> band = value_band({{1, kNan}, {2, 4}, {3, kNan}, {4, kNan}}, 2);
  ASSERT_EQ(band.size(), 1u);
  EXPECT_EQ(band[0].mean, 4);
  EXPECT_EQ(band[0].x, 1.5);
  EXPECT_TRUE(value_band({}, 5).empty());
}

// (1+2+3)/3, then what is left on the shorter side at the ends.
TEST(Downsample, MovingMeanIsThatOfTheNeighbours) {
  const std::vector<BandPoint> band = value_band({{0, 1}, {1, 2}, {2, 3}, {3, 10}}, 10);
  const std::vector<Point> mean = moving_mean(band, 3);
  ASSERT_EQ(mean.size(), 4u);
  EXPECT_DOUBLE_EQ(mean[0].y, 1);
  EXPECT_DOUBLE_EQ(mean[1].y, 2);
  EXPECT_DOUBLE_EQ(mean[2].y, 5);
  EXPECT_DOUBLE_EQ(mean[3].y, 10);
}

}  // namespace
}  // namespace molora
