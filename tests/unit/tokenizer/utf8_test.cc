#include "tokenizer/utf8.h"

#include <gtest/gtest.h>

namespace molora {
namespace {

std::string repaired(std::string_view text) {
  std::string buffer;
  return std::string(repaired_utf8(text, buffer));
}

TEST(TokenizerUtf8, WellFormedTextIsTheSameView) {
  const std::string text =
      "plain ascii of more than eight bytes, \xC3\xA9 \xE4\xBD\xA0 \xF0\x9F\x98\x80";
  std::string buffer;
  EXPECT_EQ(repaired_utf8(text, buffer).data(), text.data());
}

// The example of Unicode 15, table 3-8, and its neighbours 3-9 to 3-11.
TEST(TokenizerUtf8, EachMaximalIllFormedPartBecomesOneReplacement) {
  const std::string fffd(kReplacementCharacter);
  EXPECT_EQ(repaired("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"),
            fffd + fffd + fffd + fffd + fffd + fffd + fffd + fffd + "A");
  EXPECT_EQ(repaired("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"),
            fffd + fffd + fffd + fffd + fffd + fffd + fffd + fffd + "A");
  EXPECT_EQ(repaired("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"),
            fffd + fffd + fffd + fffd + fffd + "A" + fffd + fffd + "B");
  EXPECT_EQ(repaired("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), fffd + fffd + fffd + fffd + "A");
}

TEST(TokenizerUtf8, AnUnfinishedCharacterAtTheEndIsOneReplacement) {
  EXPECT_EQ(repaired("a\xF0\x9F\x98"), "a" + std::string(kReplacementCharacter));
}

TEST(TokenizerUtf8, StepTellsUnfinishedFromIllFormed) {
  EXPECT_EQ(utf8_step("\xE4\xBD", 0).kind, Utf8Step::Kind::kIncomplete);
  EXPECT_EQ(utf8_step("\xE4\xBDz", 0).kind, Utf8Step::Kind::kIllFormed);
  EXPECT_EQ(utf8_step("\xE4\xBDz", 0).bytes, 2u);
  EXPECT_EQ(utf8_step("\xE4\xBD\xA0", 0).bytes, 3u);
}

TEST(TokenizerUtf8, EveryCodePointSurvivesTheRoundTrip) {
  for (char32_t c = 1; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_utf8(c, text);
    ASSERT_EQ(code_point_at(text, 0).value, c);
    ASSERT_EQ(code_point_at(text, 0).bytes, text.size());
    ASSERT_EQ(code_point_before(text, text.size()).value, c);
    ASSERT_EQ(utf8_step(text, 0).kind, Utf8Step::Kind::kCharacter);
  }
}

}  // namespace
}  // namespace molora
