#include "eval/rouge_l.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace molora {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(RougeTokens, CharactersMarksAndWords) {
  EXPECT_THAT(
      rouge_tokens("\u54b3\u55fd3\u5929\uff0cFever 38.5\u3002"),
      ElementsAre("\u54b3", "\u55fd", "3", "\u5929", "\uff0c", "fever", "38", ".", "5", "\u3002"));
  EXPECT_THAT(rouge_tokens(" \n\u3000"), IsEmpty());
}

// "a b c d" and "a x c": LCS 2, P = 2/3, R = 2/4, F = 4/7.
TEST(RougeL, OfASubsequence) { EXPECT_NEAR(rouge_l_f1("a x c", "a b c d"), 4.0 / 7, 1e-8); }

TEST(RougeL, OfEqualTextsIsAlmostOne) {
  EXPECT_NEAR(rouge_l_f1("\u54b3\u55fd", "\u54b3\u55fd"), 1.0, 1e-8);
  EXPECT_LT(rouge_l_f1("\u54b3\u55fd", "\u54b3\u55fd"), 1.0);
}

TEST(RougeL, AnEmptyTextStandsForNone) {
  EXPECT_NEAR(rouge_l_f1("", ""), 1.0, 1e-8);
  EXPECT_NEAR(rouge_l_f1("", "\u65e0\u3002"), 1.0, 1e-8);
  EXPECT_EQ(rouge_l_f1("", "\u54b3"), 0.0);
}

}  // namespace
}  // namespace molora
