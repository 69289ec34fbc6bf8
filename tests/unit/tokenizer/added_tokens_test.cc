#include "tokenizer/added_tokens.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

using Texts = std::vector<std::string>;

AddedToken token(const std::string& content, TokenId id) {
  AddedToken result;
  result.content = content;
  result.id = id;
  return result;
}

// Each part as "text" or "id:text".
Texts split(const std::vector<AddedToken>& tokens, std::string_view text,
            SpecialTokens special = SpecialTokens::kParse) {
  std::vector<AddedTokens::Part> parts;
  AddedTokens(tokens, Normalizer(), "file").split_raw(text, special, parts);
  Texts texts;
  for (const AddedTokens::Part& part : parts) {
    texts.push_back((part.id < 0 ? "" : std::to_string(part.id) + ":") + std::string(part.text));
  }
  return texts;
}

TEST(TokenizerAddedTokens, NoneLeaveTheTextWhole) {
  EXPECT_EQ(split({}, "a b"), (Texts{"a b"}));
  EXPECT_EQ(split({token("x", 1)}, ""), Texts{});
}

TEST(TokenizerAddedTokens, TheLongestAtTheLeftmostPlaceWins) {
  const std::vector<AddedToken> tokens = {token("ab", 1), token("abc", 2), token("bcd", 3)};
  EXPECT_EQ(split(tokens, "xabcd"), (Texts{"x", "2:abc", "d"}));
  EXPECT_EQ(split(tokens, "xabdbcd"), (Texts{"x", "1:ab", "d", "3:bcd"}));
  EXPECT_EQ(split(tokens, "abab"), (Texts{"1:ab", "1:ab"}));
}

TEST(TokenizerAddedTokens, LstripTakesWhiteSpaceBeforeAndRstripAfter) {
  AddedToken left = token("<l>", 1);
  left.lstrip = true;
  AddedToken right = token("<r>", 2);
  right.rstrip = true;
  EXPECT_EQ(split({left, right}, "a \u3000<l> b"), (Texts{"a", "1: \u3000<l>", " b"}));
  EXPECT_EQ(split({left, right}, "a <r>\n\u00A0b"), (Texts{"a ", "2:<r>\n\u00A0", "b"}));
  // What one token took, the next does not take again.
  EXPECT_EQ(split({left, right}, "<r>  <l>"), (Texts{"2:<r>  ", "1:<l>"}));
}

TEST(TokenizerAddedTokens, SingleWordsStandAlone) {
  AddedToken word = token("foo", 1);
  word.single_word = true;
  EXPECT_EQ(split({word}, "foo food xfoo foo_ -foo-"),
            (Texts{"1:foo", " food xfoo foo_ -", "1:foo", "-"}));
  EXPECT_EQ(split({word}, "\u4F60foo foo\u0301"), (Texts{"\u4F60foo foo\u0301"}));
}

TEST(TokenizerAddedTokens, LiteralSpecialTokensStayText) {
  AddedToken special = token("<s>", 1);
  special.special = true;
  const std::vector<AddedToken> tokens = {special, token("<t>", 2), token("s>", 3)};
  EXPECT_EQ(split(tokens, "a<s>b<t>"), (Texts{"a", "1:<s>", "b", "2:<t>"}));
  EXPECT_EQ(split(tokens, "a<s>b<t>", SpecialTokens::kLiteral), (Texts{"a<s>b", "2:<t>"}));
}

TEST(TokenizerAddedTokens, NormalizedOnesAreFoundInNormalizedText) {
  const nlohmann::json nfc = {{"type", "NFC"}};
  const Normalizer normalizer(JsonAt(nfc, "file"));
  AddedToken decomposed = token("e\u0301", 1);
  decomposed.normalized = true;
  const AddedTokens tokens({decomposed, token("x", 2)}, normalizer, "file");
  std::vector<AddedTokens::Part> parts;
  tokens.split_normalized("a\u00E9x", SpecialTokens::kParse, parts);
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[1].id, 1);
  EXPECT_EQ(parts[2].text, "x");
  tokens.split_raw("a\u00E9x", SpecialTokens::kParse, parts);
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[1].id, 2);
}

TEST(TokenizerAddedTokens, TwoThatReadAlikeAreRefused) {
  const nlohmann::json nfc = {{"type", "NFC"}};
  const Normalizer normalizer(JsonAt(nfc, "file"));
  AddedToken one = token("\u00E9", 1);
  AddedToken other = token("e\u0301", 2);
  one.normalized = other.normalized = true;
  EXPECT_THROW_WITH(AddedTokens({one, other}, normalizer, "file"), DataError, "file",
                    "added token 2", "reads like another one");
}

TEST(TokenizerAddedTokens, OneThatNormalizesToNothingIsRefused) {
  const nlohmann::json strip = {{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}};
  AddedToken spaces = token("  ", 7);
  spaces.normalized = true;
  EXPECT_THROW_WITH(AddedTokens({spaces}, Normalizer(JsonAt(strip, "file")), "file"), DataError,
                    "file", "added token 7", "empty after normalization");
}

}  // namespace
}  // namespace molora
