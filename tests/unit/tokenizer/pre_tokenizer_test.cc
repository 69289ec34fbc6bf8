#include "tokenizer/pre_tokenizer.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

using nlohmann::json;
using Texts = std::vector<std::string>;

PreTokenizer pre_tokenizer(const json& document) {
  return PreTokenizer(JsonAt(document, "p.json"));
}

Texts words(const json& document, std::string_view text, bool begins_input = true) {
  Words result;
  pre_tokenizer(document).split({text, begins_input}, result);
  Texts texts;
  for (const Words::Word& word : result.list) texts.emplace_back(word.text);
  return texts;
}

json sequence(const std::vector<json>& steps) {
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}
json split(const char* behavior, bool invert = false) {
  return {{"type", "Split"},
          {"pattern", {{"String", "-"}}},
          {"behavior", behavior},
          {"invert", invert}};
}
json metaspace(const char* scheme, bool splits) {
  return {
      {"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", scheme}, {"split", splits}};
}

TEST(PreTokenizer, FiveWaysToSplit) {
  const std::string text = "the-final--countdown";
  EXPECT_EQ(words(split("Removed"), text), (Texts{"the", "final", "countdown"}));
  EXPECT_EQ(words(split("Isolated"), text), (Texts{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(words(split("MergedWithPrevious"), text), (Texts{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(words(split("MergedWithNext"), text), (Texts{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(words(split("Contiguous"), text), (Texts{"the", "-", "final", "--", "countdown"}));
  EXPECT_EQ(words(split("Removed", true), text), (Texts{"-", "-", "-"}));
}

TEST(PreTokenizer, ByteLevelSplitsAsGpt2UnlessTold) {
  const json plain = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  EXPECT_EQ(words(plain, "I'm  12 x\n"), (Texts{"I", "'m", " ", " 12", " x", "\n"}));
  EXPECT_TRUE(pre_tokenizer(plain).byte_level());
  json prefixed = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"use_regex", false}};
  EXPECT_EQ(words(prefixed, "a b"), (Texts{" a b"}));
  EXPECT_EQ(words(prefixed, " a b"), (Texts{" a b"}));
}

TEST(PreTokenizer, DigitsAloneOrTogether) {
  EXPECT_EQ(words({{"type", "Digits"}, {"individual_digits", true}}, "a12\u0663\u00BDb"),
            (Texts{"a", "1", "2", "\u0663", "\u00BD", "b"}));
  EXPECT_EQ(words({{"type", "Digits"}, {"individual_digits", false}}, "a12\u0663b"),
            (Texts{"a", "12\u0663", "b"}));
}

TEST(PreTokenizer, MetaspacePrependsByItsScheme) {
  EXPECT_EQ(words(metaspace("always", true), "a  b"), (Texts{"_a", "_", "_b"}));
  EXPECT_EQ(words(metaspace("always", true), "a", false), (Texts{"_a"}));
  EXPECT_EQ(words(metaspace("always", true), " a"), (Texts{"_a"}));
  EXPECT_EQ(words(metaspace("first", false), "a b"), (Texts{"_a_b"}));
  EXPECT_EQ(words(metaspace("first", false), "a b", false), (Texts{"a_b"}));
  EXPECT_EQ(words(metaspace("never", true), "a b"), (Texts{"a", "_b"}));
}

TEST(PreTokenizer, MetaspaceOfOlderFilesAlwaysPrepends) {
  EXPECT_EQ(words({{"type", "Metaspace"}, {"replacement", "_"}, {"add_prefix_space", true}}, "a b"),
            (Texts{"_a", "_b"}));
}

TEST(PreTokenizer, OnlyThePieceAtTheBeginningIsFirst) {
  EXPECT_EQ(words(sequence({split("Removed"), metaspace("first", false)}), "a-b"),
            (Texts{"_a", "b"}));
  EXPECT_EQ(words(sequence({split("Removed"), metaspace("first", false)}), "-a-b"),
            (Texts{"a", "b"}));
}

struct Refusal {
  const char* name;
  json document;
  const char* message;
};
class PreTokenizerRefusal : public ::testing::TestWithParam<Refusal> {};

TEST_P(PreTokenizerRefusal, NamesThePlaceAndTheReason) {
  EXPECT_THROW_WITH(pre_tokenizer(GetParam().document), DataError, "p.json", GetParam().message);
}

json nested(int depth) {
  json document = split("Removed");
  for (int i = 0; i < depth; ++i) document = sequence({document});
  return document;
}

INSTANTIATE_TEST_SUITE_P(
    All, PreTokenizerRefusal,
    ::testing::Values(
        Refusal{"kind", {{"type", "Whitespace"}}, "pre-tokenizer Whitespace is not supported"},
        Refusal{"behavior", split("Kept"), "behavior: 'Kept' is not a way to split"},
        Refusal{"after_byte_level",
                sequence({{{"type", "ByteLevel"}, {"add_prefix_space", false}}, split("Removed")}),
                "pretokenizers[1]: Split after ByteLevel"},
        Refusal{"two_metaspaces", sequence({metaspace("always", true), metaspace("never", true)}),
                "after another pre-tokenizer that adds text"},
        Refusal{"long_mark",
                {{"type", "Metaspace"}, {"replacement", "ab"}},
                "replacement: is not one character"},
        Refusal{"scheme", metaspace("sometimes", true), "'sometimes' is none of"},
        Refusal{"contradiction",
                {{"type", "Metaspace"}, {"replacement", "_"}, {"add_prefix_space", false}},
                "contradicts prepend_scheme"},
        Refusal{"pattern",
                {{"type", "Split"},
                 {"pattern", {{"Regex", "(a"}}},
                 {"behavior", "Removed"},
                 {"invert", false}},
                "pattern.Regex"},
        Refusal{"deep", nested(40), "nested too deeply"}),
    [](const auto& refusal) { return refusal.param.name; });

}  // namespace
}  // namespace molora
