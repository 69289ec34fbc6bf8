#include "train/step_check.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/host_name.h"
#include "comm/thread_communicator.h"

namespace molora {
namespace {

using ::testing::HasSubstr;

// --- Norms ---

TEST(NormHistory, HasAMedianFromEightNormsOn) {
  NormHistory history;
  for (const double norm : {9.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0}) {
    history.add(norm);
    EXPECT_FALSE(history.median().has_value());
  }
  history.add(100.0);
  EXPECT_EQ(history.median(), 6.5);
  history.add(0.0);
  EXPECT_EQ(history.median(), 6.0);
}

TEST(NormHistory, ForgetsAllButTheLatestThirtyTwo) {
  NormHistory history;
  for (int i = 0; i < 32; ++i) history.add(1.0);
  for (int i = 0; i < 15; ++i) history.add(5.0);
  EXPECT_EQ(history.median(), 1.0);
  for (int i = 0; i < 2; ++i) history.add(5.0);
  EXPECT_EQ(history.median(), 5.0);
}

// --- Comparison ---

class FirstDifference : public ::testing::Test {
 protected:
  FirstDifference() {
    for (const char* name : {"layers.0.a", "layers.0.b"}) {
      parameters_.push_back({name, at::zeros({2}), {2}, {0}, SyncGroup::kAll});
    }
  }
  // This rank updates the second parameter alone.
  static StepEvidence evidence() {
    return {{1.5, 2.0}, {at::ones({2}), at::ones({2})}, {3.0}, {at::ones({2})}};
  }
  std::string with(const StepEvidence& other) const {
    return first_difference(evidence(), other, parameters_, {1});
  }
  std::vector<Parameter> parameters_;
};

TEST_F(FirstDifference, IsNothingForEqualBits) { EXPECT_EQ(with(evidence()), ""); }

TEST_F(FirstDifference, NotANumberEqualsItself) {
  StepEvidence a = evidence();
  a.local[0] = at::full({2}, std::nan(""));
  a.numbers[0] = std::nan("");
  EXPECT_EQ(first_difference(a, a, parameters_, {1}), "");
  EXPECT_EQ(with(a), "the gradient of layers.0.a");
}

TEST_F(FirstDifference, MinusZeroIsNotZero) {
  StepEvidence a = evidence();
  StepEvidence b = evidence();
  a.local[1] = at::full({2}, 0.0);
  b.local[1] = at::full({2}, -0.0);
  EXPECT_EQ(first_difference(a, b, parameters_, {1}), "the gradient of layers.0.b");
}

TEST_F(FirstDifference, OwnWorkComesBeforeWhatWasSent) {
  StepEvidence other = evidence();
  other.summed[0] = 4.0;
  EXPECT_EQ(with(other), "the summed loss and statistics");
  other.sums[0] = at::zeros({2});
  EXPECT_EQ(with(other), "the summed gradient of layers.0.b");
  other.numbers[1] = 2.5;
  EXPECT_EQ(with(other), "its part of the loss and of the statistics");
  other.local[1] = at::zeros({2});
  EXPECT_EQ(with(other), "the gradient of layers.0.b");
}

// --- All ranks ---

// What every rank is told when each has found this; "" where ranks are told different things.
std::vector<RankDifference> told(const std::vector<std::string>& found) {
  std::vector<std::vector<RankDifference>> by_rank(found.size());
  run_rank_threads(static_cast<int>(found.size()), [&](Communicator& world) {
    const auto rank = static_cast<size_t>(world.rank());
    by_rank[rank] = differences_of_all(world, found[rank]);
  });
  for (const auto& other : by_rank) {
    EXPECT_EQ(other.size(), by_rank[0].size());
    for (size_t i = 0; i < other.size(); ++i) {
      EXPECT_EQ(other[i].rank, by_rank[0][i].rank);
      EXPECT_EQ(other[i].what, by_rank[0][i].what);
    }
  }
  return by_rank[0];
}

TEST(DifferencesOfAll, NothingFoundIsNothingTold) { EXPECT_TRUE(told({"", "", ""}).empty()); }

TEST(DifferencesOfAll, ARankThatComputedOtherBitsIsNamedAloneAndByAll) {
  const auto found =
      told({"the summed gradient of x", "the gradient of x", "", "the summed loss and statistics"});
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].rank, 1);
  EXPECT_EQ(found[0].host, host_name());
  EXPECT_EQ(differences_text(found), "rank 1 (host " + host_name() +
                                         ") had other bits in the gradient of x: a fault of that "
                                         "machine");
}

TEST(DifferencesOfAll, WithoutSuchARankThoseThatWereSentOtherBitsAreNamed) {
  const auto found = told({"the summed gradient of x", "", "the summed gradient of x"});
  ASSERT_EQ(found.size(), 2u);
  EXPECT_THAT(differences_text(found),
              HasSubstr("ranks 0, 2 (host " + host_name() +
                        ") had other bits, the first in the summed gradient of x: a fault of one "
                        "of these machines or of the network between them"));
}

}  // namespace
}  // namespace molora
