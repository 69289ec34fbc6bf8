#include "data/row_plan.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/philox.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

using Rows = std::vector<std::vector<uint32_t>>;

// Lengths as instruction data have them: many short samples, a few long ones.
std::vector<uint32_t> skewed_lengths(size_t count, uint32_t max_length) {
  std::vector<uint32_t> lengths(count);
  for (size_t i = 0; i < count; ++i) {
    const double u = philox_unit(philox_below(3, i, uint64_t{1} << 32));
    lengths[i] = 1 + static_cast<uint32_t>((max_length - 1) * u * u * u);
  }
  return lengths;
}

std::vector<uint32_t> flatten(const Rows& rows) {
  std::vector<uint32_t> samples;
  for (const auto& row : rows) samples.insert(samples.end(), row.begin(), row.end());
  return samples;
}

TEST(RowPlan, EverySampleStandsInExactlyOneRow) {
  const auto lengths = skewed_lengths(5000, 512);
  for (const bool packing : {true, false}) {
    for (const bool shuffle : {true, false}) {
      auto samples = flatten(plan_rows(
          {.lengths = lengths, .max_length = 512, .shuffle = shuffle, .packing = packing}));
      std::sort(samples.begin(), samples.end());
      std::vector<uint32_t> all(lengths.size());
      std::iota(all.begin(), all.end(), 0u);
      EXPECT_EQ(samples, all) << packing << shuffle;
    }
  }
}

TEST(RowPlan, NoRowIsLongerThanMaxLength) {
  const auto lengths = skewed_lengths(5000, 300);
  for (const auto& row : plan_rows({.lengths = lengths, .max_length = 300})) {
    uint32_t tokens = 0;
    for (const uint32_t sample : row) tokens += lengths[sample];
    EXPECT_LE(tokens, 300u);
    EXPECT_FALSE(row.empty());
  }
}

TEST(RowPlan, WithoutPackingEachSampleIsARow) {
  const std::vector<uint32_t> lengths = {1, 2, 3};
  const Rows expected = {{0}, {1}, {2}};
  EXPECT_EQ(plan_rows({.lengths = lengths, .max_length = 9, .shuffle = false, .packing = false}),
            expected);
}

Rows packed_in_order(const std::vector<uint32_t>& lengths, uint32_t max_length) {
  return plan_rows({.lengths = lengths, .max_length = max_length, .shuffle = false});
}

TEST(RowPlan, ASampleGoesIntoTheOpenRowThatItFillsBest) {
  // Rows of 10: 7 and 6 open rows, 4 fills up that of 6 and 3 that of 7.
  EXPECT_EQ(packed_in_order({6, 7, 3, 4}, 10), (Rows{{0, 3}, {1, 2}}));
  // 2 fits into both rows and fills that of 7 better.
  EXPECT_EQ(packed_in_order({6, 7, 2}, 10), (Rows{{0}, {1, 2}}));
}

TEST(RowPlan, AmongEquallyLongSamplesAndEquallyFullRowsTheEarlierComesFirst) {
  EXPECT_EQ(packed_in_order({6, 6, 3, 3}, 10), (Rows{{0, 2}, {1, 3}}));
}

TEST(RowPlan, ARowStandsAtThePlaceOfTheSampleThatOpenedIt) {
  EXPECT_EQ(packed_in_order({1, 8, 9, 2, 10}, 10), (Rows{{1, 3}, {2, 0}, {4}}));
}

TEST(RowPlan, SortingStaysWithinAWindow) {
  // The last sample is the longest, but belongs to the second window.
  std::vector<uint32_t> lengths(RowPlanRequest::kWindow, 6);
  lengths.push_back(9);
  const Rows rows = packed_in_order(lengths, 10);
  EXPECT_EQ(rows.front(), std::vector<uint32_t>{0});
  EXPECT_EQ(rows.back(), std::vector<uint32_t>{RowPlanRequest::kWindow});
}

TEST(RowPlan, RowsStayOpenForTheNextWindow) {
  std::vector<uint32_t> lengths(RowPlanRequest::kWindow, 10);
  lengths[5] = 6;
  lengths.push_back(4);
  EXPECT_EQ(packed_in_order(lengths, 10)[5], (std::vector<uint32_t>{5, RowPlanRequest::kWindow}));
}

TEST(RowPlan, TheFullestRowIsClosedWhenTooManyAreOpen) {
  // A sample of 8 and kOpenRows samples of 6 open a row each; the row of 8, which is the fullest,
  // is closed before the 2 comes that would fill it.
  std::vector<uint32_t> lengths(RowPlanRequest::kOpenRows + 1, 6);
  lengths[1] = 8;
  lengths.push_back(2);
  const Rows rows = packed_in_order(lengths, 10);
  EXPECT_EQ(rows[1], std::vector<uint32_t>{1});
  EXPECT_EQ(rows[0], (std::vector<uint32_t>{0, static_cast<uint32_t>(lengths.size() - 1)}));
}

TEST(RowPlan, IsAFunctionOfSeedAndEpoch) {
  const auto lengths = skewed_lengths(500, 100);
  const auto plan = [&](uint64_t seed, int64_t epoch) {
    return plan_rows({.lengths = lengths, .max_length = 100, .seed = seed, .epoch = epoch});
  };
  EXPECT_EQ(plan(1, 0), plan(1, 0));
  EXPECT_NE(plan(1, 0), plan(2, 0));
  EXPECT_NE(plan(1, 0), plan(1, 1));
}

TEST(RowPlan, TheShuffleIsFisherYatesWithThePublishedKey) {
  const std::vector<uint32_t> lengths(6, 1);
  std::vector<uint32_t> expected = {0, 1, 2, 3, 4, 5};
  const uint64_t key = philox_key(7, RandomPurpose::kShuffle, "", 3);
  for (uint32_t i = 5; i >= 1; --i) std::swap(expected[i], expected[philox_below(key, i, i + 1)]);
  EXPECT_EQ(flatten(plan_rows(
                {.lengths = lengths, .max_length = 1, .seed = 7, .epoch = 3, .packing = false})),
            expected);
}

TEST(RowPlan, WithoutShufflingEveryEpochIsInTheOrderOfTheData) {
  const std::vector<uint32_t> lengths(4, 5);
  const Rows expected = {{0, 1}, {2, 3}};
  for (const int64_t epoch : {0, 1}) {
    EXPECT_EQ(plan_rows({.lengths = lengths, .max_length = 10, .epoch = epoch, .shuffle = false}),
              expected);
  }
}

// Packing must not sort: the mean place of long samples in the epoch is that of short ones.
TEST(RowPlan, LongAndShortSamplesComeEquallyEarly) {
  const auto lengths = skewed_lengths(40000, 1000);
  const Rows rows = plan_rows({.lengths = lengths, .max_length = 1000, .seed = 5});
  double long_place = 0, short_place = 0, num_long = 0, num_short = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    for (const uint32_t sample : rows[r]) {
      const double place = static_cast<double>(r) / static_cast<double>(rows.size());
      if (lengths[sample] > 500) {
        long_place += place;
        ++num_long;
      } else if (lengths[sample] < 20) {
        short_place += place;
        ++num_short;
      }
    }
  }
  constexpr double kTolerance = 0.02;  // about five standard errors of the smaller group
  EXPECT_NEAR(long_place / num_long, 0.5, kTolerance);
  EXPECT_NEAR(short_place / num_short, 0.5, kTolerance);
}

TEST(RowPlan, PackingFillsTheRows) {
  const auto lengths = skewed_lengths(20000, 2048);
  const RowPlanRequest request = {.lengths = lengths, .max_length = 2048};
  EXPECT_GT(fill_rate(request, plan_rows(request)), 0.98);
}

TEST(RowPlan, AMillionSamplesArePlannedInSeconds) {
  const auto lengths = skewed_lengths(1'000'000, 3072);
  const auto begin = std::chrono::steady_clock::now();
  const Rows rows = plan_rows({.lengths = lengths, .max_length = 3072});
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  RecordProperty("seconds", std::to_string(seconds.count()));
  EXPECT_LT(seconds.count(), 20);  // measured 0.6 s; the bound only catches a quadratic planner
  EXPECT_GT(rows.size(), 1000u);
}

TEST(RowPlan, NoSamplesMakeNoRows) {
  EXPECT_TRUE(plan_rows({.max_length = 8}).empty());
  EXPECT_EQ(fill_rate({.max_length = 8}, {}), 0);
}

TEST(RowPlan, ALengthOutOfBoundsIsOurFault) {
  const std::vector<uint32_t> too_long = {3, 9};
  EXPECT_THROW_WITH((void)plan_rows({.lengths = too_long, .max_length = 8}), InternalError,
                    "sample 1 has 9 tokens, a row 8");
  const std::vector<uint32_t> empty = {0};
  EXPECT_THROW_WITH((void)plan_rows({.lengths = empty, .max_length = 8}), InternalError,
                    "sample 0 has 0 tokens");
}

}  // namespace
}  // namespace molora
