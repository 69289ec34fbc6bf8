#include "eval/item_answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace molora {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Reading = AnswerReading;

EvalItem exam(std::vector<size_t> correct) {
  EvalItem item;
  item.question = EncodedQuestion{{{"A", "B", "C"}, std::move(correct), true}, {1}, {}};
  return item;
}

ItemOutcome everything() {
  ItemOutcome outcome;
  outcome.likeliest = 0;
  outcome.biased = "B";
  outcome.generated = "The answer is A and C.";
  return outcome;
}

TEST(ReadAnswer, EachWayHasItsAnswer) {
  const EvalItem item = exam({0, 2});
  const auto likely = read_answer(item, everything(), AnswerWay::kLikelihood, Reading::kStrict);
  EXPECT_THAT(likely->given, ElementsAre("A"));
  EXPECT_FALSE(is_correct(*likely));  // one of two right letters
  const auto biased = read_answer(item, everything(), AnswerWay::kBiased, Reading::kStrict);
  EXPECT_THAT(biased->given, ElementsAre("B"));
  EXPECT_EQ(biased->way, AnswerWay::kBiased);
  const auto said = read_answer(item, everything(), AnswerWay::kGenerate, Reading::kStrict);
  EXPECT_THAT(said->given, ElementsAre("A", "C"));
  EXPECT_THAT(said->expected, ElementsAre("A", "C"));
  EXPECT_TRUE(is_correct(*said));
  EXPECT_EQ(answer_score(*said), 1.0);
}

TEST(ReadAnswer, WithoutABiasedTokenTheLikeliestCounts) {
  ItemOutcome outcome = everything();
  outcome.biased.reset();
  const auto answer = read_answer(exam({0}), outcome, AnswerWay::kBiased, Reading::kStrict);
  EXPECT_EQ(answer->way, AnswerWay::kLikelihood);
  EXPECT_TRUE(is_correct(*answer));
}

TEST(ReadAnswer, WhatNamesNothingIsNotParsedAndWrong) {
  ItemOutcome outcome = everything();
  outcome.generated = "Hm.";
  const auto answer = read_answer(exam({0}), outcome, AnswerWay::kGenerate, Reading::kStrict);
  EXPECT_FALSE(answer->is_parsed);
  EXPECT_THAT(answer->given, IsEmpty());
  EXPECT_FALSE(is_correct(*answer));
}

TEST(ReadAnswer, ALabelMayBeChosenOrWritten) {
  EvalItem item;
  item.question = EncodedQuestion{{{"yes", "no"}, {1}, false}, {1}, {}};
  item.benchmark = BenchmarkItem{find_cblue_task("KUAKE-QQR"), {"yes", "no"}, "no", {1}};
  ItemOutcome outcome;
  outcome.likeliest = 1;
  outcome.generated = "perhaps";
  const auto likely = read_answer(item, outcome, AnswerWay::kLikelihood, Reading::kStrict);
  EXPECT_EQ(likely->metric, Metric::kWeightedF1);
  EXPECT_TRUE(is_correct(*likely));
  const auto strict = read_answer(item, outcome, AnswerWay::kGenerate, Reading::kStrict);
  EXPECT_THAT(strict->given, IsEmpty());
  EXPECT_THAT(strict->expected, ElementsAre("no"));
  const auto parity = read_answer(item, outcome, AnswerWay::kGenerate, Reading::kParity);
  EXPECT_THAT(parity->given, ElementsAre("perhaps"));
  EXPECT_FALSE(parity->is_parsed);
}

TEST(ReadAnswer, FreeTextOfABenchmarkIsWhatWasGeneratedInEveryWay) {
  EvalItem item;
  item.benchmark = BenchmarkItem{find_cblue_task("CHIP-CDN"), {"a", "b"}, "a\uff0cb", {1}};
  ItemOutcome outcome;
  EXPECT_FALSE(read_answer(item, outcome, AnswerWay::kLikelihood, Reading::kStrict));
  outcome.generated = "b";
  const auto answer = read_answer(item, outcome, AnswerWay::kLikelihood, Reading::kStrict);
  EXPECT_EQ(answer->way, AnswerWay::kGenerate);
  EXPECT_NEAR(answer_score(*answer), 2.0 / 3, 1e-12);  // 1 hit of 1 given and 2 expected
  EXPECT_FALSE(is_correct(*answer));
}

TEST(ReadAnswer, OtherTextHasNone) {
  EXPECT_FALSE(read_answer(EvalItem(), everything(), AnswerWay::kGenerate, Reading::kStrict));
}

TEST(ItemRecord, HoldsWhatNamesTheItemAndItsLoss) {
  EvalItem item = exam({0});
  item.index = 7;
  item.id = "x";
  item.type = "single";
  item.prompt_sha256 = "abc";
  ItemOutcome outcome = everything();
  outcome.loss_sum = 1.5;
  outcome.supervised = 3;
  outcome.correct_tokens = 2;
  const ItemRecord record =
      item_record(item, "exam", outcome, AnswerWay::kLikelihood, Reading::kStrict);
  EXPECT_EQ(record.index, 7);
  EXPECT_EQ(record.id + record.task + record.type + record.prompt, "xexamsingleabc");
  EXPECT_EQ(record.loss_sum, 1.5);
  EXPECT_EQ(record.supervised, 3);
  EXPECT_EQ(record.correct_tokens, 2);
  EXPECT_TRUE(record.answer.has_value());
}

}  // namespace
}  // namespace molora
