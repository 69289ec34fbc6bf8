#include "eval/paired_tests.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/item_records.h"

namespace molora {
namespace {

using testing::answered_item;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::pointers_to;

TEST(McNemar, CountsTheItemsThatOnlyOneGetsRight) {
  // 1 of 6: 2 * (1 + 6) / 64.
  EXPECT_NEAR(mcnemar_p(1, 5), 14.0 / 64.0, 1e-15);
  EXPECT_NEAR(mcnemar_p(5, 1), 14.0 / 64.0, 1e-15);
  EXPECT_NEAR(mcnemar_p(0, 10), 2.0 / 1024.0, 1e-15);
  EXPECT_EQ(mcnemar_p(4, 4), 1.0);
  EXPECT_EQ(mcnemar_p(0, 0), 1.0);
}

// All 2^n ways to change sides, counted one by one.
double exhaustive_p(const TaskScorer& both, double observed) {
  const size_t pairs = both.num_items() / 2;
  int as_far = 0;
  for (uint32_t sides = 0; sides < (1u << pairs); ++sides) {
    std::vector<uint32_t> first(2 * pairs);
    std::vector<uint32_t> second(2 * pairs);
    for (size_t i = 0; i < pairs; ++i) {
      const uint32_t swaps = (sides >> i) & 1u;
      first[i] = second[pairs + i] = 1 - swaps;
      first[pairs + i] = second[i] = swaps;
    }
    const double difference = both.score(second) - both.score(first);
    if (std::abs(difference) >= std::abs(observed) - 1e-12) ++as_far;
  }
  return as_far / static_cast<double>(1u << pairs);
}

TEST(PermutationTest, ComesNearTheExhaustiveCount) {
  const std::vector<std::string> labels = {"a", "b", "c"};
  for (const Metric metric : {Metric::kMacroF1, Metric::kMicroF1, Metric::kLoss}) {
    std::vector<ItemRecord> records;
    for (int side = 0; side < 2; ++side) {
      for (int i = 0; i < 10; ++i) {
        const std::string& expected = labels[static_cast<size_t>(i) % 3];
        const std::string& given =
            labels[static_cast<size_t>(side == 0 ? i * i : i / 4 * 2 + i) % 3];
        records.push_back(
            answered_item("t", i, metric == Metric::kLoss ? Metric::kAccuracy : metric, {expected},
                          {given}, 0.1 * (i * 7 % 10 + side * (i % 4 - 1))));
      }
    }
    const TaskScorer both(metric, pointers_to(records));
    std::vector<uint32_t> first(20, 0);
    std::vector<uint32_t> second(20, 0);
    for (size_t i = 0; i < 10; ++i) first[i] = second[10 + i] = 1;
    const double observed = both.score(second) - both.score(first);
    const double exact = exhaustive_p(both, observed);
    const double got = permutation_p(permuted_differences(both, "t", {}), observed);
    EXPECT_NEAR(got, exact, 0.02) << metric_name(metric);
    EXPECT_LT(exact, 1.0) << metric_name(metric);
  }
}

TEST(PermutationTest, IsNeverZero) {
  EXPECT_DOUBLE_EQ(permutation_p(std::vector<double>(99, 0.0), 0.5), 0.01);
  EXPECT_DOUBLE_EQ(permutation_p({0.5, -0.5, 0.1}, 0.5), 0.75);
}

// 4 * 0.01, 3 * 0.02, 2 * 0.03, 1 * 0.5, never less than the one before, at most 1.
TEST(Holm, SmallestTimesNumberAndSoOn) {
  EXPECT_THAT(holm_adjusted({0.5, 0.01, 0.03, 0.02}),
              ElementsAre(DoubleNear(0.5, 1e-15), DoubleNear(0.04, 1e-15), DoubleNear(0.06, 1e-15),
                          DoubleNear(0.06, 1e-15)));
  EXPECT_THAT(holm_adjusted({0.9, 0.8}), ElementsAre(1.0, 1.0));
  EXPECT_THAT(holm_adjusted({0.02}), ElementsAre(0.02));
  EXPECT_THAT(holm_adjusted({}), IsEmpty());
}

}  // namespace
}  // namespace molora
