#include "eval/choice_answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace molora {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const ChoiceQuestion kThree{{"A", "B", "C"}, {0}, true};
const ChoiceQuestion kFive{{"A", "B", "C", "D", "E"}, {0}, true};
// Two departments.
constexpr char kLiver[] = "\u809d\u75c5\u79d1";
constexpr char kNerve[] = "\u795e\u7ecf\u79d1";

TEST(NamedCandidates, TheFirstLetterThatStandsAlone) {
  EXPECT_THAT(named_candidates("B. two", kThree), ElementsAre(1u));
  EXPECT_THAT(named_candidates("(C) three", kThree), ElementsAre(2u));
  EXPECT_THAT(named_candidates("\u9009B\u3002", kThree), ElementsAre(1u));
  EXPECT_THAT(named_candidates("Because of Cs", kThree), IsEmpty());
  EXPECT_THAT(named_candidates("D", kThree), IsEmpty());
  EXPECT_THAT(named_candidates("", kThree), IsEmpty());
}

TEST(NamedCandidates, LettersThatAreListedTogether) {
  for (const char* text : {"ABD", "A, B, D", "A\u3001B\u3001D", "D, A and B", "A B D: all three"}) {
    EXPECT_THAT(named_candidates(text, kFive), ElementsAre(0u, 1u, 3u)) << text;
  }
  EXPECT_THAT(named_candidates("A. one, not B", kFive), ElementsAre(0u));
}

TEST(NamedCandidates, AStatementWinsOverWhatStandsBefore) {
  EXPECT_THAT(named_candidates("A is wrong. The answer is (C), not B.", kThree), ElementsAre(2u));
  EXPECT_THAT(named_candidates("the ANSWER is BD. A would be ..", kFive), ElementsAre(1u, 3u));
  EXPECT_THAT(named_candidates("A\u9519\uff0c\u7b54\u6848\u4e3aBC\u3002", kThree),
              ElementsAre(1u, 2u));
  EXPECT_THAT(named_candidates("\u7b54\u6848\u662fC", kThree), ElementsAre(2u));
  // The last of several; a statement without a letter is none.
  EXPECT_THAT(named_candidates("The answer is A. No: the answer is B.", kThree), ElementsAre(1u));
  EXPECT_THAT(named_candidates("B. The answer is clear.", kThree), ElementsAre(1u));
}

TEST(NamedCandidates, VerdictsInChinese) {
  EXPECT_THAT(named_candidates("A\u9519\uff0cB\u5bf9\uff0cC\u9519\uff0cD\u5bf9", kFive),
              ElementsAre(1u, 3u));
  // The question asks for what is wrong.
  EXPECT_THAT(named_candidates("A\u5bf9\uff0cB\u9519\uff0c\u4e3a\u672c\u9898\u6b63\u786e"
                               "\u7b54\u6848\u3002C\u5bf9",
                               kThree),
              ElementsAre(1u));
}

TEST(NamedCandidates, WordsWhateverTheirCaseAndTheLongestAtOnePlace) {
  const ChoiceQuestion question{{"no", "No change", "yes"}, {0}, false};
  EXPECT_THAT(named_candidates("Yes, it is.", question), ElementsAre(2u));
  EXPECT_THAT(named_candidates("no change at all", question), ElementsAre(1u));
  EXPECT_THAT(named_candidates("nothing is known", question), IsEmpty());
  const ChoiceQuestion chinese{{kLiver, kNerve}, {0}, false};
  EXPECT_THAT(named_candidates(std::string("x") + kNerve, chinese), ElementsAre(1u));
}

TEST(StatedLetters, OnlyOfAStatement) {
  EXPECT_THAT(stated_letters("So the answer is B", 3), ElementsAre(1u));
  EXPECT_THAT(stated_letters("B", 3), IsEmpty());
}

}  // namespace
}  // namespace molora
