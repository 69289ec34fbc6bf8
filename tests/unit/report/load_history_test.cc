#include "report/load_history.h"

#include <cmath>

#include <gmock/gmock.h>

namespace molora {
namespace {

using ::testing::ElementsAre;

TEST(LoadHistory, ManyStepsBecomeFewSpansAndNothingIsLost) {
  LoadHistory history;
  constexpr int kSteps = 1000;
  for (int step = 1; step <= kSteps; ++step) history.add(step, {{1, 2}, {3, 0}});
  EXPECT_LE(history.spans().size(), LoadHistory::kMostSpans);
  EXPECT_GE(history.spans().size(), LoadHistory::kMostSpans / 2);
  int64_t next = 1;
  for (const LoadSpan& span : history.spans()) {
    EXPECT_EQ(span.first_step, next);
    const auto steps = static_cast<double>(span.last_step - span.first_step + 1);
    EXPECT_THAT(span.counts, ElementsAre(ElementsAre(steps, 2 * steps), ElementsAre(3 * steps, 0)));
    next = span.last_step + 1;
  }
  EXPECT_EQ(next, kSteps + 1);
  EXPECT_THAT(history.total().counts, ElementsAre(ElementsAre(1000, 2000), ElementsAre(3000, 0)));
  EXPECT_EQ(history.latest().last_step, kSteps);
}

TEST(LoadHistory, OtherExpertsBeginANewHistory) {
  LoadHistory history;
  history.add(1, {{1, 2}});
  history.add(2, {{1, 2, 3}});
  ASSERT_EQ(history.spans().size(), 1u);
  EXPECT_EQ(history.spans()[0].first_step, 2);
}

// Halves: entropy ln 2 of ln 2. A quarter and three: (0.25 ln 4 + 0.75 ln 4/3) / ln 2 = 0.811278.
TEST(LoadHistory, EvennessIsOneForEqualAndZeroForOneAlone) {
  EXPECT_DOUBLE_EQ(evenness({5, 5}), 1.0);
  EXPECT_DOUBLE_EQ(evenness({5, 0, 0}), 0.0);
  EXPECT_NEAR(evenness({1, 3}), 0.811278, 1e-6);
  EXPECT_TRUE(std::isnan(evenness({0, 0})));
  EXPECT_DOUBLE_EQ(evenness({4}), 1.0);
  EXPECT_THAT(shares_of({1, 3}), ElementsAre(0.25, 0.75));
  EXPECT_THAT(shares_of({0, 0}), ElementsAre(0, 0));
}

}  // namespace
}  // namespace molora
