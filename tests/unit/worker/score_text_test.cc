#include "worker/score_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/item_records.h"

namespace molora {
namespace {

using testing::answered_item;
using testing::exam_item;
using ::testing::HasSubstr;
using ::testing::Not;

// Two exams of 40 and 10 items; the second model gets 14 more of the first right.
std::vector<ItemRecord> records(bool is_second) {
  std::vector<ItemRecord> list;
  for (int i = 0; i < 40; ++i) {
    list.push_back(exam_item("exam", i, i < (is_second ? 24 : 10), is_second ? 0.5 : 1.0));
  }
  for (int i = 0; i < 10; ++i) list.push_back(exam_item("other", 40 + i, i % 2 == 0));
  return list;
}

TEST(ScoresTable, ShowsMetricIntervalAndWhatWasNotRead) {
  const auto list = std::vector<ItemRecord>{
      answered_item("ner", 0, Metric::kMicroF1, {"x", "y"}, {"x"}),
      answered_item("ner", 1, Metric::kMicroF1, {"z"}, {}), exam_item("exam", 2, true)};
  const std::string table = scores_table(score_sheet(list, {.resamples = 200}));
  EXPECT_THAT(table, HasSubstr("ner          2  micro-F1   50.0%     [0.0, 66.7]         1"));
  EXPECT_THAT(table, HasSubstr("overall      3  mean       75.0%"));
}

TEST(ComparisonText, SaysPlainlyWhatIsMoreThanChance) {
  const Comparison comparison = compare(records(false), records(true), {.resamples = 2000});
  const std::string text = comparison_text(comparison, "runs/a", "runs/b");
  EXPECT_THAT(text, HasSubstr("A: runs/a\nB: runs/b\n"));
  EXPECT_THAT(text, HasSubstr("exam        40  accuracy  25.0%  60.0%  +35.0"));
  EXPECT_THAT(text, HasSubstr("<0.001  <0.001  B is better\n"));
  EXPECT_THAT(text, HasSubstr("other       10  accuracy  50.0%  50.0%   +0.0    [+0.0, +0.0]   "
                              "1.000   1.000  not significant\n"));
  EXPECT_THAT(text, HasSubstr("Answers: B is better in exam.\n"));
  EXPECT_THAT(text, HasSubstr("Loss: B is better in exam.\n"));
  const std::string back = comparison_text(
      compare(records(true), records(false), {.resamples = 2000}), "runs/b", "runs/a");
  EXPECT_THAT(back, HasSubstr("Answers: A is better in exam.\n"));
}

TEST(ComparisonText, OfTheSameTwiceNothingDiffers) {
  const std::string text =
      comparison_text(compare(records(true), records(true), {.resamples = 100}), "a", "a");
  EXPECT_THAT(text, HasSubstr("Answers: in no task do A and B differ by more than chance"));
  EXPECT_THAT(text, Not(HasSubstr("is better\n")));
}

TEST(ComparisonText, OtherTokensAreNamed) {
  auto second = records(true);
  second[0].supervised = 2;
  const std::string text =
      comparison_text(compare(records(false), second, {.resamples = 100}), "a", "b");
  EXPECT_THAT(text, HasSubstr("their losses cannot be compared"));
}

TEST(ComparisonJson, HasTheNumbersOfEveryRow) {
  const auto json =
      comparison_json(compare(records(false), records(true), {.resamples = 500}), "a", "b");
  EXPECT_EQ(json["answers"].size(), 3u);
  const auto& exam = json["answers"][0];
  EXPECT_EQ(exam["task"], "exam");
  EXPECT_EQ(exam["test"], "mcnemar");
  EXPECT_DOUBLE_EQ(exam["difference"].get<double>(), 0.35);
  EXPECT_EQ(exam["significant"], true);
  EXPECT_EQ(json["losses"][2]["task"], "overall");
}

}  // namespace
}  // namespace molora
