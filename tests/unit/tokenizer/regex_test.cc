#include "tokenizer/regex.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "tokenizer/regex_dialect.h"

namespace molora {
namespace {

std::vector<std::string> matches(const char* pattern, std::string_view text) {
  std::vector<std::string> result;
  for (const Span& span : Regex(pattern, "test").find_all(text)) {
    result.emplace_back(text.substr(span.begin, span.end - span.begin));
  }
  return result;
}
using Texts = std::vector<std::string>;

TEST(TokenizerRegex, WhiteSpaceIsThatOfUnicode) {
  EXPECT_EQ(matches("\\s+", "a\u00A0\u2003b\u3000"), (Texts{"\u00A0\u2003", "\u3000"}));
}

TEST(TokenizerRegex, CaseIsFoldedAsUnicodeSays) {
  EXPECT_EQ(matches("(?i:'s|'k)", "'S '\u017F '\u212A 's"),
            (Texts{"'S", "'\u017F", "'\u212A", "'s"}));
}

TEST(TokenizerRegex, EmptyMatchesDoNotFollowAMatchAndDoNotLoop) {
  const std::vector<Span> spans = Regex("a*", "test").find_all("aab\u00E9");
  ASSERT_EQ(spans.size(), 3u);
  EXPECT_EQ(spans[0].end, 2u);
  EXPECT_EQ(spans[1].begin, 3u);  // after b, not between aa and b
  EXPECT_EQ(spans[2].begin, 5u);
}

TEST(TokenizerRegex, TooMuchBacktrackingIsAnErrorNotAHang) {
  const Regex regex("(a|a)*(a|a)*(a|a)*[bc]", "file: pattern");
  EXPECT_THROW_WITH((void)regex.find_all(std::string(5000, 'a')), DataError, "file: pattern",
                    "5000 bytes");
}

TEST(TokenizerRegex, WrongExpressionsAreRefusedWithTheirPlace) {
  EXPECT_THROW_WITH(Regex("a(b", "file: pattern"), DataError, "file: pattern", "wrong at byte 3");
}

TEST(TokenizerRegex, WhatTheEnginesReadDifferentlyIsRefused) {
  EXPECT_THROW_WITH(Regex("a\\w+", "file: pattern"), DataError, "file: pattern", "uses \\w");
}

TEST(TokenizerRegexDialect, KnowsThePublishedPatterns) {
  for (
      const char* pattern :
      {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
       R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
       R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"}) {
    EXPECT_EQ(regex_difference(pattern), "") << pattern;
  }
}

TEST(TokenizerRegexDialect, NamesWhatDiffers) {
  for (const auto& [pattern, difference] :
       std::vector<std::pair<const char*, const char*>>{{"x\\w", "\\w"},
                                                        {"\\bx", "\\b"},
                                                        {"^x", "^"},
                                                        {"x$", "$"},
                                                        {"[a[b]]", "["},
                                                        {"[a&&b]", "&"},
                                                        {"a{2}+", "}"},
                                                        {"a{,2}", "{"},
                                                        {"\\p{Han}", "\\p{Han}"},
                                                        {"\\pL", "\\p"},
                                                        {"(?<name>a)", "("},
                                                        {"(*FAIL)", "("},
                                                        {"(a)\\1", "\\1"},
                                                        {"[]a]", "["},
                                                        {"a\\", "\\"},
                                                        {"\\h", "\\h"},
                                                        {"(?i:ss)", "(?i: with ss"}}) {
    EXPECT_EQ(regex_difference(pattern), difference) << pattern;
  }
}

}  // namespace
}  // namespace molora
