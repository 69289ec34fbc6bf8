#include "report/task_json.h"

#include <gtest/gtest.h>

namespace molora {
namespace {

TEST(TaskJson, GivesMeansAndLeavesOutWhatDoesNotExist) {
  TaskResult text;
  text.set_task("medquad");
  text.set_samples(5);
  text.set_loss_sum(30.0);
  text.set_supervised(20);
  text.set_correct_tokens(5);
  TaskResult exam = text;
  exam.set_task("medqa");
  exam.set_questions(4);
  exam.set_correct_questions(1);
  exam.set_chance_questions(1.0);
  exam.set_generated(4);
  exam.set_correct_generated(2);
  exam.set_unnamed_generated(1);
  const nlohmann::json list = task_results_json({text, exam});
  EXPECT_EQ(list[0], nlohmann::json({{"task", "medquad"},
                                     {"samples", 5},
                                     {"supervised", 20},
                                     {"loss", 1.5},
                                     {"token_accuracy", 0.25}}));
  EXPECT_EQ(list[1]["accuracy"], 0.25);
  EXPECT_EQ(list[1]["chance"], 0.25);
  EXPECT_EQ(list[1]["correct_generated"], 2);
  EXPECT_EQ(list[1]["unnamed_generated"], 1);
}

TEST(TaskJson, ATaskWithoutSamplesHasNoLoss) {
  TaskResult empty;
  empty.set_task("none");
  EXPECT_FALSE(task_results_json({empty})[0].contains("loss"));
}

}  // namespace
}  // namespace molora
