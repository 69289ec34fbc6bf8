#include "report/results_table.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace molora {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TaskResult result(const std::string& task, double loss_sum, int64_t questions, int64_t correct) {
  TaskResult r;
  r.set_task(task);
  r.set_samples(50);
  r.set_loss_sum(loss_sum);
  r.set_supervised(100);
  r.set_correct_tokens(25);
  r.set_questions(questions);
  r.set_correct_questions(correct);
  r.set_chance_questions(0.25 * static_cast<double>(questions));
  return r;
}

TEST(ResultsTable, ShowsBeforeAndAfter) {
  const std::string table =
      results_table({result("medqa", 300, 50, 12), result("medquad", 280, 0, 0)},
                    {result("medqa", 150, 50, 40), result("medquad", 270, 0, 0)});
  EXPECT_THAT(table, HasSubstr("medqa         50       3.0000      1.5000"));
  EXPECT_THAT(table, HasSubstr("80.0% [67, 89]"));
  EXPECT_THAT(table, HasSubstr("25.0%"));
  EXPECT_THAT(table, HasSubstr("all          100       2.9000      2.1000"));
}

TEST(ResultsTable, SaysWhereAccuracyIsNotAboveChance) {
  const std::string table =
      results_table({}, {result("medqa", 150, 50, 14), result("mmlu", 150, 50, 40)});
  EXPECT_THAT(
      table,
      HasSubstr("Not told apart from guessing (the interval holds the chance level): medqa."));
  EXPECT_THAT(results_table({}, {result("mmlu", 150, 50, 40)}), Not(HasSubstr("guessing")));
}

TEST(ResultsTable, ATaskOfOneSideOnlyKeepsItsRow) {
  const std::string table = results_table({result("old", 300, 0, 0)}, {result("new", 100, 0, 0)});
  EXPECT_THAT(table, HasSubstr("old"));
  EXPECT_THAT(table, HasSubstr("new"));
}

TEST(ResultsTable, OneEvaluationAloneHasOneColumnOfEach) {
  const std::string table = results_table({result("medqa", 150, 50, 14), result("text", 90, 0, 0)});
  EXPECT_THAT(table, HasSubstr("28.0% [17, 42]"));
  EXPECT_THAT(table, HasSubstr("text"));
  EXPECT_THAT(table, HasSubstr("guessing"));
  EXPECT_THAT(table, Not(HasSubstr("before")));
  EXPECT_THAT(table, Not(HasSubstr("generated")));
}

TEST(ResultsTable, GeneratedAnswersGetTheirColumns) {
  TaskResult exam = result("medqa", 150, 50, 14);
  exam.set_generated(50);
  exam.set_correct_generated(20);
  exam.set_unnamed_generated(7);
  const std::string table = results_table({exam, result("text", 90, 0, 0)});
  EXPECT_THAT(table, HasSubstr("generated"));
  EXPECT_THAT(table, HasSubstr("40.0% [28, 54]"));
  EXPECT_THAT(table, HasSubstr("7\n"));
}

TEST(ResultsTable, OverallLossCountsTokensNotTasks) {
  EXPECT_DOUBLE_EQ(overall_loss({result("a", 300, 0, 0), result("b", 100, 0, 0)}), 2.0);
  EXPECT_TRUE(std::isnan(overall_loss({})));
}

}  // namespace
}  // namespace molora
