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
  EXPECT_EQ(question->correct, 1u);
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
  EXPECT_EQ(question->correct, 2u);
  EXPECT_FALSE(question->are_letters);
  EXPECT_FALSE(choice_question(dialogue("Answer yes, no or maybe.", "It depends.")).has_value());
}

TEST(ChoiceQuestion, AChineseOptionsLineGivesTheCandidates) {
  const std::string text = std::string("x\n") + kOptionsZh + kLiver + kCommaZh + kNerve + "\ny";
  const auto question = choice_question(dialogue(text, kNerve));
  ASSERT_TRUE(question.has_value());
  EXPECT_THAT(question->candidates, ElementsAre(kLiver, kNerve));
  EXPECT_EQ(question->correct, 1u);
}

TEST(ChoiceQuestion, ExplicitChoicesWinOverTheText) {
  Conversation conversation = dialogue("Which?\nA. one\nB. two", "A. one");
  conversation.choices = {"red", "green", "blue"};
  conversation.answer = "C";
  const auto by_letter = choice_question(conversation);
  ASSERT_TRUE(by_letter.has_value());
  EXPECT_THAT(by_letter->candidates, ElementsAre("A", "B", "C"));
  EXPECT_EQ(by_letter->correct, 2u);
  conversation.answer = "green";
  const auto by_text = choice_question(conversation);
  ASSERT_TRUE(by_text.has_value());
  EXPECT_THAT(by_text->candidates, ElementsAre("red", "green", "blue"));
  EXPECT_EQ(by_text->correct, 1u);
}

TEST(ChoiceQuestion, FreeTextIsNoQuestion) {
  EXPECT_FALSE(choice_question(dialogue("What is (are) Microcephaly ?", "A condition.")));
  EXPECT_FALSE(choice_question(Conversation()).has_value());
}

TEST(NamedCandidate, TheFirstLetterThatStandsAlone) {
  const ChoiceQuestion question{{"A", "B", "C"}, 0, true};
  EXPECT_EQ(named_candidate("B. two", question), 1u);
  EXPECT_EQ(named_candidate("The answer is (C), not B.", question), 2u);
  EXPECT_EQ(named_candidate("Because of Cs", question), std::nullopt);
  EXPECT_EQ(named_candidate("", question), std::nullopt);
}

TEST(NamedCandidate, WordsWhateverTheirCaseAndTheLongestAtOnePlace) {
  const ChoiceQuestion question{{"no", "No change", "yes"}, 0, false};
  EXPECT_EQ(named_candidate("Yes, it is.", question), 2u);
  EXPECT_EQ(named_candidate("no change at all", question), 1u);
  EXPECT_EQ(named_candidate("nothing is known", question), std::nullopt);
  const ChoiceQuestion chinese{{kLiver, kNerve}, 0, false};
  EXPECT_EQ(named_candidate(std::string("x") + kNerve, chinese), 1u);
}

}  // namespace
}  // namespace molora
