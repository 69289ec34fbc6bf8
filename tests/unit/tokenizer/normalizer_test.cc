#include "tokenizer/normalizer.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

using nlohmann::json;

Normalizer normalizer(const json& document) { return Normalizer(JsonAt(document, "n.json")); }

std::string normalized(const json& document, std::string_view text) {
  std::string buffer;
  return std::string(normalizer(document).apply(text, buffer));
}

json sequence(const std::vector<json>& steps) {
  return {{"type", "Sequence"}, {"normalizers", steps}};
}

TEST(TokenizerNormalizer, NoneKeepsTheText) {
  std::string buffer;
  const std::string text = "e\u0301";
  EXPECT_EQ(Normalizer().apply(text, buffer).data(), text.data());
}

TEST(TokenizerNormalizer, FourFormsOfUnicode) {
  const std::string text = "e\u0301\uFB01\uAC00";
  EXPECT_EQ(normalized({{"type", "NFC"}}, text), "\u00E9\uFB01\uAC00");
  EXPECT_EQ(normalized({{"type", "NFD"}}, text), "e\u0301\uFB01\u1100\u1161");
  EXPECT_EQ(normalized({{"type", "NFKC"}}, text), "\u00E9fi\uAC00");
  EXPECT_EQ(normalized({{"type", "NFKD"}}, text), "e\u0301fi\u1100\u1161");
}

TEST(TokenizerNormalizer, ComposedTextStaysTheSameView) {
  const Normalizer nfc = normalizer({{"type", "NFC"}});
  std::string buffer;
  const std::string text = "caf\u00E9 \u4F60\u597D\uFF0C";
  EXPECT_EQ(nfc.apply(text, buffer).data(), text.data());
}

// Marks that Unicode 9 did not know are not reordered by the reference library.
TEST(TokenizerNormalizer, YoungMarksStayWhereTheyAre) {
  EXPECT_EQ(normalized({{"type", "NFC"}}, "a\u0301\u0316"), "\u00E1\u0316");
  EXPECT_EQ(normalized({{"type", "NFC"}}, "a\u1ABF\u0301"), "a\u1ABF\u0301");
  EXPECT_EQ(normalized({{"type", "NFKC"}}, "\u32FF"), "\u32FF");
  EXPECT_EQ(normalized({{"type", "NFC"}}, "\U00011935\U00011930"), "\U00011935\U00011930");
}

TEST(TokenizerNormalizer, PrependLeavesTheEmptyTextEmpty) {
  const json prepend = {{"type", "Prepend"}, {"prepend", "_"}};
  EXPECT_EQ(normalized(prepend, "a"), "_a");
  EXPECT_EQ(normalized(prepend, ""), "");
}

TEST(TokenizerNormalizer, ReplacesStringsAndExpressions) {
  EXPECT_EQ(normalized({{"type", "Replace"}, {"pattern", {{"String", ".."}}}, {"content", "x"}},
                       "..a....b."),
            "xaxxb.");
  EXPECT_EQ(normalized({{"type", "Replace"}, {"pattern", {{"Regex", "\\s+"}}}, {"content", " "}},
                       "a \u3000\n b"),
            "a b");
}

TEST(TokenizerNormalizer, StripsWhiteSpaceOfEitherSide) {
  const std::string text = "\u00A0 a b\n";
  EXPECT_EQ(normalized({{"type", "Strip"}, {"strip_left", true}, {"strip_right", false}}, text),
            "a b\n");
  EXPECT_EQ(normalized({{"type", "Strip"}, {"strip_left", false}, {"strip_right", true}}, text),
            "\u00A0 a b");
  EXPECT_EQ(normalized({{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}}, " \n"),
            "");
}

TEST(TokenizerNormalizer, StepsRunInOrder) {
  const json document =
      sequence({{{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}},
                {{"type", "Prepend"}, {"prepend", " "}},
                {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "_"}}});
  EXPECT_EQ(normalized(document, "  a b "), "_a_b");
}

TEST(TokenizerNormalizer, KnowsWhetherTheBeginningStays) {
  const auto replace = [](const char* pattern, const char* content) {
    return json{{"type", "Replace"}, {"pattern", {{"String", pattern}}}, {"content", content}};
  };
  EXPECT_TRUE(normalizer({{"type", "NFC"}}).keeps_beginning());
  EXPECT_TRUE(normalizer(replace(" ", "\u2581")).keeps_beginning());
  EXPECT_FALSE(normalizer(replace("``", "\"")).keeps_beginning());
  EXPECT_FALSE(normalizer(replace(" ", "")).keeps_beginning());
  EXPECT_FALSE(normalizer({{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}})
                   .keeps_beginning());
}

struct Refusal {
  const char* name;
  json document;
  const char* message;
};
class TokenizerNormalizerRefusal : public ::testing::TestWithParam<Refusal> {};

TEST_P(TokenizerNormalizerRefusal, NamesThePlaceAndTheReason) {
  EXPECT_THROW_WITH(normalizer(GetParam().document), DataError, "n.json", GetParam().message);
}

json nested(int depth) {
  json document = {{"type", "NFC"}};
  for (int i = 0; i < depth; ++i) document = sequence({document});
  return document;
}

INSTANTIATE_TEST_SUITE_P(
    All, TokenizerNormalizerRefusal,
    ::testing::Values(
        Refusal{"kind", {{"type", "BertNormalizer"}}, "BertNormalizer is not supported"},
        Refusal{"lowercase", {{"type", "Lowercase"}}, "Lowercase is not supported"},
        Refusal{"in_sequence", sequence({{{"type", "NFC"}}, {{"type", "Precompiled"}}}),
                "normalizers[1]: normalizer Precompiled"},
        Refusal{"no_type", json::object(), "has no type"},
        Refusal{"not_object", json::array(), "is not an object"},
        Refusal{"no_pattern", {{"type", "Replace"}, {"content", "x"}}, "has no pattern"},
        Refusal{"empty_pattern",
                {{"type", "Replace"}, {"pattern", {{"String", ""}}}, {"content", "x"}},
                "String: is empty"},
        Refusal{"not_text", {{"type", "Prepend"}, {"prepend", 1}}, "prepend: is not a text"},
        Refusal{"not_flag",
                {{"type", "Strip"}, {"strip_left", 1}, {"strip_right", true}},
                "strip_left: is neither true nor false"},
        Refusal{"not_list", {{"type", "Sequence"}, {"normalizers", 1}}, "is not a list"},
        Refusal{"deep", nested(40), "nested too deeply"},
        Refusal{"growth",
                {{"type", "Replace"},
                 {"pattern", {{"String", "a"}}},
                 {"content", std::string(2000, 'a')}},
                "more than 1024 times as long"}),
    [](const auto& refusal) { return refusal.param.name; });

}  // namespace
}  // namespace molora
