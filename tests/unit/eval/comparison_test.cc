#include "eval/comparison.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "eval/paired_tests.h"
#include "support/expect_throw.h"
#include "support/item_records.h"

namespace molora {
namespace {

using testing::answered_item;
using testing::exam_item;

// Two exams: of the first 40 items the second model gets 12 more right and 2 fewer, of the other 10
// they get the same right.
std::vector<ItemRecord> side(bool is_second) {
  std::vector<ItemRecord> records;
  for (int i = 0; i < 40; ++i) {
    const bool is_right = i < 10 ? true : i < 22 ? is_second : i < 24 ? !is_second : false;
    records.push_back(exam_item("exam", i, is_right, is_second ? 0.5 : 1.0));
  }
  for (int i = 40; i < 50; ++i) records.push_back(exam_item("same", i, i % 2 == 0, 2.0));
  return records;
}

TEST(Comparison, TellsByHowMuchAndHowSure) {
  const Comparison got = compare(side(false), side(true), {});
  ASSERT_EQ(got.answers.tasks.size(), 2u);
  const ScoreDifference& exam = got.answers.tasks[0];
  EXPECT_EQ(exam.task, "exam");
  EXPECT_EQ(exam.items, 40u);
  EXPECT_DOUBLE_EQ(exam.first, 12.0 / 40);
  EXPECT_DOUBLE_EQ(exam.second, 22.0 / 40);
  EXPECT_EQ(exam.test, PairedTest::kMcNemar);
  EXPECT_DOUBLE_EQ(exam.p, mcnemar_p(2, 12));
  EXPECT_DOUBLE_EQ(exam.adjusted_p, 2 * exam.p);  // the smaller of two
  EXPECT_TRUE(exam.is_significant(0.05));
  EXPECT_TRUE(exam.is_better());
  // A difference of +1 in 12 pairs, -1 in 2, 0 in 26: 0.25 +- 1.96 * sqrt((14/40 - 0.0625) / 40).
  EXPECT_NEAR(exam.interval.low, 0.25 - 0.166, 0.02);
  EXPECT_NEAR(exam.interval.high, 0.25 + 0.166, 0.02);
  const ScoreDifference& same = got.answers.tasks[1];
  EXPECT_EQ(same.difference(), 0.0);
  EXPECT_EQ(same.p, 1.0);
  EXPECT_FALSE(same.is_significant(0.05));
}

TEST(Comparison, TheOverallIsTheMeanOfTheTasks) {
  const Comparison got = compare(side(false), side(true), {});
  ASSERT_TRUE(got.answers.overall.has_value());
  const ScoreDifference& overall = *got.answers.overall;
  EXPECT_DOUBLE_EQ(overall.difference(), 0.125);
  EXPECT_EQ(overall.items, 50u);
  EXPECT_GT(overall.interval.low, 0.0);
  EXPECT_LT(overall.p, 0.05);
}

TEST(Comparison, OfALossLessIsBetter) {
  const Comparison got = compare(side(false), side(true), {});
  ASSERT_EQ(got.losses.tasks.size(), 2u);
  EXPECT_DOUBLE_EQ(got.losses.tasks[0].difference(), -0.5);
  EXPECT_TRUE(got.losses.tasks[0].is_better());
  EXPECT_LT(got.losses.tasks[0].adjusted_p, 0.01);
  EXPECT_EQ(got.losses.tasks[1].p, 1.0);
}

TEST(Comparison, ChangesSignWithTheSides) {
  const Comparison forth = compare(side(false), side(true), {});
  const Comparison back = compare(side(true), side(false), {});
  EXPECT_DOUBLE_EQ(back.answers.tasks[0].difference(), -forth.answers.tasks[0].difference());
  EXPECT_DOUBLE_EQ(back.answers.tasks[0].p, forth.answers.tasks[0].p);
  EXPECT_NEAR(back.answers.tasks[0].interval.low, -forth.answers.tasks[0].interval.high, 1e-12);
}

TEST(Comparison, ItemsArePairedWhateverTheirOrderAndTwinsByTheirNumber) {
  auto second = side(true);
  std::reverse(second.begin(), second.end());
  EXPECT_DOUBLE_EQ(compare(side(false), second, {}).answers.tasks[0].second, 22.0 / 40);
  auto twins = side(false);
  twins[1].id = twins[0].id;
  twins[1].prompt = twins[0].prompt;
  EXPECT_EQ(compare(twins, twins, {}).answers.tasks[0].items, 40u);
}

TEST(Comparison, OtherTokenizersMakeLossesIncomparable) {
  auto second = side(true);
  second[3].supervised = 2;
  const Comparison got = compare(side(false), second, {});
  EXPECT_TRUE(got.losses.tasks.empty());
  EXPECT_EQ(got.answers.tasks.size(), 2u);
}

TEST(Comparison, WhatDoesNotGoTogetherIsRefused) {
  auto fewer = side(true);
  fewer.pop_back();
  EXPECT_THROW_WITH(compare(side(false), fewer, {}), DataError,
                    "not of the same items: item 'same-49' of task same in the first only (1 in");
  auto changed = side(true);
  changed[0].answer->expected = {"C"};
  EXPECT_THROW_WITH(compare(side(false), changed, {}), DataError,
                    "item 'exam-0' of task exam has other reference answers");
  auto silent = side(true);
  silent[0].answer.reset();
  EXPECT_THROW_WITH(compare(side(false), silent, {}), DataError,
                    "was answered in the first evaluation only");
  auto mixed = side(true);
  mixed[0].answer->metric = Metric::kMicroF1;
  EXPECT_THROW_WITH(compare(mixed, mixed, {}), DataError, "one task has one metric");
}

TEST(ScoreSheet, HasARowForEachTaskThatIsAnswered) {
  std::vector<ItemRecord> records = {
      answered_item("ner", 0, Metric::kMicroF1, {"x", "y"}, {"x"}),
      answered_item("ner", 1, Metric::kMicroF1, {"z"}, {}),
      exam_item("exam", 2, true),
      exam_item("exam", 3, false),
  };
  records.push_back(records.back());
  records.back().task = "text";
  records.back().answer.reset();
  const ScoreSheet sheet = score_sheet(records, {.resamples = 1000});
  ASSERT_EQ(sheet.tasks.size(), 2u);
  // Micro: 1 hit, 1 given, 3 expected.
  EXPECT_DOUBLE_EQ(sheet.tasks[0].score, 0.5);
  EXPECT_EQ(sheet.tasks[0].unread, 1u);
  // Resamples: the first item twice (2 / 3), the second twice (0), both (1 / 2).
  EXPECT_EQ(sheet.tasks[0].interval.low, 0.0);
  EXPECT_NEAR(sheet.tasks[0].interval.high, 2.0 / 3, 1e-12);
  EXPECT_DOUBLE_EQ(sheet.tasks[1].score, 0.5);
  EXPECT_DOUBLE_EQ(sheet.overall->score, 0.5);
  EXPECT_EQ(sheet.overall->items, 4u);
}

}  // namespace
}  // namespace molora
