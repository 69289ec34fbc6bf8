#include "tokenizer/unicode_versions.h"

#include <gtest/gtest.h>

#include "tokenizer/character_class.h"
#include "tokenizer/regex.h"
#include "tokenizer/utf8.h"

namespace molora {
namespace {

// How many characters of `text` the expression matches.
size_t num_matches(const char* pattern, std::string_view text) {
  return Regex(pattern, "test").find_all(text).size();
}

TEST(TokenizerUnicodeVersions, LettersAndDigitsOfUnicode16AreOnes) {
  EXPECT_EQ(num_matches("\\p{Lu}", "\u1C89\U00010D50"), 2u);
  EXPECT_EQ(num_matches("\\p{L}", "\U000105C0\U00016D43\U000323AF"), 3u);
  EXPECT_EQ(num_matches("\\p{N}", "\U00011BF0\U0001CCF9"), 2u);
  EXPECT_EQ(num_matches("\\p{M}", "\u0897\U00011F02"), 1u);
}

TEST(TokenizerUnicodeVersions, TheMongolianVowelSeparatorIsNoWhiteSpace) {
  EXPECT_EQ(num_matches("\\s", "\u180E\u1680\u0085\u3000"), 3u);
  EXPECT_FALSE(is_white_space(0x180E));
}

TEST(TokenizerUnicodeVersions, StandInsKeepTheLengthOfEveryCharacter) {
  for (char32_t c = 1; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_utf8(c, text);
    std::string buffer;
    ASSERT_EQ(with_known_classes(text, buffer).size(), text.size()) << std::hex << uint32_t{c};
  }
}

TEST(TokenizerUnicodeVersions, WordCharactersIncludeMarksConnectorsAndCircledLetters) {
  for (const char32_t c :
       {U'a', U'_', U'7', U'\u0301', U'\u203F', U'\u24B6', U'\u200D', U'\u4F60', U'\U00010D4A'}) {
    EXPECT_TRUE(is_word_character(c)) << std::hex << uint32_t{c};
  }
  for (const char32_t c : {U'-', U' ', U'\u2019', U'\u00BD', U'\u2460'}) {
    EXPECT_FALSE(is_word_character(c)) << std::hex << uint32_t{c};
  }
}

}  // namespace
}  // namespace molora
