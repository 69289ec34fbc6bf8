#include "eval/bootstrap.h"

#include <cmath>
#include <map>

#include <gtest/gtest.h>

#include "support/item_records.h"

namespace molora {
namespace {

using testing::exam_item;
using testing::pointers_to;

std::vector<ItemRecord> exam(int right, int wrong) {
  std::vector<ItemRecord> records;
  for (int i = 0; i < right + wrong; ++i) records.push_back(exam_item("exam", i, i < right));
  return records;
}

TEST(Bootstrap, EveryResampleHasAsManyItemsAsThereAre) {
  int resamples = 0;
  for_each_resample(7, "task", {.resamples = 50}, [&](std::span<const uint32_t> times) {
    ++resamples;
    ASSERT_EQ(times.size(), 7u);
    uint32_t sum = 0;
    for (const uint32_t count : times) sum += count;
    EXPECT_EQ(sum, 7u);
  });
  EXPECT_EQ(resamples, 50);
}

// Of n items with share q right, a resample has k right with the binomial probability of k.
TEST(Bootstrap, DrawsFollowTheBinomialDistribution) {
  const auto records = exam(3, 2);
  const TaskScorer scorer(Metric::kAccuracy, pointers_to(records));
  std::map<int, int> seen;
  constexpr int kDraws = 20000;
  for (const double score : resampled_scores(scorer, "exam", {.resamples = kDraws})) {
    ++seen[static_cast<int>(std::lround(score * 5))];
  }
  const double binomial[] = {1, 5, 10, 10, 5, 1};
  for (int k = 0; k <= 5; ++k) {
    const double p = binomial[k] * std::pow(0.6, k) * std::pow(0.4, 5 - k);
    const double deviation = std::sqrt(p * (1 - p) / kDraws);
    EXPECT_NEAR(seen[k] / static_cast<double>(kDraws), p, 5 * deviation) << k;
  }
}

TEST(Bootstrap, IsAFunctionOfSeedTaskAndItems) {
  const auto records = exam(30, 20);
  const TaskScorer scorer(Metric::kAccuracy, pointers_to(records));
  const auto one = resampled_scores(scorer, "exam", {.resamples = 100});
  EXPECT_EQ(resampled_scores(scorer, "exam", {.resamples = 100}), one);
  EXPECT_NE(resampled_scores(scorer, "other", {.resamples = 100}), one);
  EXPECT_NE(resampled_scores(scorer, "exam", {.resamples = 100, .seed = 1}), one);
}

// For 400 items at 50 % the normal approximation is good: 0.5 +- 1.96 * sqrt(0.25 / 400).
TEST(Bootstrap, TheIntervalOfManyItemsIsNearTheNormalOne) {
  const auto records = exam(200, 200);
  const TaskScorer scorer(Metric::kAccuracy, pointers_to(records));
  const ScoreInterval interval = percentile_interval(resampled_scores(scorer, "exam", {}), 0.95);
  EXPECT_NEAR(interval.low, 0.451, 0.004);
  EXPECT_NEAR(interval.high, 0.549, 0.004);
}

TEST(Bootstrap, WhereAllItemsAreEqualThereIsNoDoubt) {
  const auto records = exam(6, 0);
  const TaskScorer scorer(Metric::kAccuracy, pointers_to(records));
  const ScoreInterval interval = percentile_interval(resampled_scores(scorer, "exam", {}), 0.95);
  EXPECT_EQ(interval.low, 1.0);
  EXPECT_EQ(interval.high, 1.0);
}

}  // namespace
}  // namespace molora
