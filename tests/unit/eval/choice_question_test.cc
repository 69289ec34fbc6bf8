#include "eval/choice_question.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace molora {
namespace {

using ::testing::ElementsAre;

// "options:" in Chinese, and three departments.
constexpr char kOptionsZh[] = "\xe9\x80\x89\xe9\xa1\xb9\xef\xbc\x9a";
constexpr char kLiver[] = "\xe8\x82\x9d\xe7\x97\x85\xe7\xa7\x91";
constexpr char kNerve[] = "\xe7\xa5\x9e\xe7\xbb\x8f\xe7\xa7\x91";
constexpr char kCommaZh[] = "\xef\xbc\x8c";

Conversation dialogue(const std::string& question, const std::string& answer) {
  Conversation conversation;
  conversation.turns = {{Role::kUser, question}, {Role::kAssistant, answer}};
  return conversation;
}

TEST(ChoiceQuestion, LettersAreReadFromTheOptionLines) {
  const auto question = choice_question(
      dialogue("Which?\nA. one\nB) two\n(C) three\nAnswer with the letter.", "B. two"));
  ASSERT_TRUE(question.has_value());
  EXPECT_THAT(question->candidates, ElementsAre("A", "B", "C"));
  EXPECT_THAT(question->correct, ElementsAre(1u));
  EXPECT_TRUE(question->are_letters);
}

TEST(ChoiceQuestion, AnAnswerThatIsNoOptionLetterIsFreeText) {
  EXPECT_FALSE(choice_question(dialogue("Which?\nA. one\nB. two", "D. four")).has_value());
  EXPECT_FALSE(choice_question(dialogue("Which?\nA. one\nB. two", "Because of it")).has_value());
  EXPECT_FALSE(choice_question(dialogue("Which?\nA. one", "A. one")).has_value());
}

TEST(ChoiceQuestion, AListNamedAtTheEndGivesTheCandidates) {
  const auto question =
      choice_question(dialogue("Context: x.\nQuestion: y?\nAnswer yes, no or maybe.", "maybe"));
  ASSERT_TRUE(question.has_value());
  EXPECT_THAT(question->candidates, ElementsAre("yes", "no", "maybe"));
  EXPECT_THAT(question->correct, ElementsAre(2u));
  EXPECT_FALSE(question->are_letters);
  EXPECT_FALSE(choice_question(dialogue("Answer yes, no or maybe.", "It depends.")).has_value());
}

TEST(ChoiceQuestion, AChineseOptionsLineGivesTheCandidates) {
  const std::string text = std::string("x\n") + kOptionsZh + kLiver + kCommaZh + kNerve + "\ny";
  const auto question = choice_question(dialogue(text, kNerve));
  ASSERT_TRUE(question.has_value());
  EXPECT_THAT(question->candidates, ElementsAre(kLiver, kNerve));
  EXPECT_THAT(question->correct, ElementsAre(1u));
}

TEST(ChoiceQuestion, ExplicitChoicesWinOverTheText) {
  Conversation conversation = dialogue("Which?\nA. one\nB. two", "A. one");
  conversation.choices = {"red", "green", "blue"};
  conversation.answer = "C";
  const auto by_letter = choice_question(conversation);
  ASSERT_TRUE(by_letter.has_value());
  EXPECT_THAT(by_letter->candidates, ElementsAre("A", "B", "C"));
  EXPECT_THAT(by_letter->correct, ElementsAre(2u));
  conversation.answer = "green";
  const auto by_text = choice_question(conversation);
  ASSERT_TRUE(by_text.has_value());
  EXPECT_THAT(by_text->candidates, ElementsAre("red", "green", "blue"));
  EXPECT_THAT(by_text->correct, ElementsAre(1u));
}

TEST(ChoiceQuestion, FreeTextIsNoQuestion) {
  EXPECT_FALSE(choice_question(dialogue("What is (are) Microcephaly ?", "A condition.")));
  EXPECT_FALSE(choice_question(Conversation()).has_value());
}

TEST(ChoiceQuestion, SeveralLettersAreASet) {
  const std::string text = "Which are?\nA. one\nB. two\nC. three\nD. four";
  for (const char* answer : {"ACD", "A, C, D", "A\u3001C\u3001D", "ACD\u3002", "A C D"}) {
    const auto question = choice_question(dialogue(text, answer));
    ASSERT_TRUE(question.has_value()) << answer;
    EXPECT_THAT(question->correct, ElementsAre(0u, 2u, 3u)) << answer;
  }
  // Neither ascending letters nor one letter and more.
  EXPECT_FALSE(choice_question(dialogue(text, "BAD")).has_value());
}

TEST(ChoiceQuestion, AReasonedAnswerSaysItsLettersAtTheEnd) {
  const std::string text = "Which?\nA. one\nB. two\nC. three";
  const auto english = choice_question(dialogue(text, "It is two.\nThe answer is B."));
  ASSERT_TRUE(english.has_value());
  EXPECT_THAT(english->correct, ElementsAre(1u));
  const auto chinese =
      choice_question(dialogue(text, "\u56e0\u4e3a\u3002\u7b54\u6848\u4e3aAC\u3002"));
  ASSERT_TRUE(chinese.has_value());
  EXPECT_THAT(chinese->correct, ElementsAre(0u, 2u));
}

TEST(ChoiceQuestion, AnExplicitAnswerMayBeLettersOfTheOptionLines) {
  Conversation conversation = dialogue("Which?\nA. one\nB. two\nC. three", "Two, for a reason.");
  conversation.answer = "BC";
  const auto question = choice_question(conversation);
  ASSERT_TRUE(question.has_value());
  EXPECT_THAT(question->candidates, ElementsAre("A", "B", "C"));
  EXPECT_THAT(question->correct, ElementsAre(1u, 2u));
}

TEST(ChoiceQuestion, AmongGivenCandidatesEachCountsOnce) {
  const Conversation conversation = dialogue("Which?", "green");
  const auto question = question_among(conversation, {"red", "green", "red", "none"});
  ASSERT_TRUE(question.has_value());
  EXPECT_THAT(question->candidates, ElementsAre("red", "green", "none"));
  EXPECT_THAT(question->correct, ElementsAre(1u));
  EXPECT_FALSE(question_among(conversation, {"red", "blue"}).has_value());
}

}  // namespace
}  // namespace molora
