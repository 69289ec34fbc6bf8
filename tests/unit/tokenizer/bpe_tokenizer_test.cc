#include "tokenizer/bpe_tokenizer.h"

#include <chrono>
#include <thread>

#include <gtest/gtest.h>

#include "support/tiny_tokenizer.h"
#include "tokenizer/utf8.h"

namespace molora {
namespace {

using testing::add_merges;
using testing::added_token;
using testing::byte_fallback_json;
using testing::byte_level_json;
using testing::json;
using testing::kMark;
using testing::parse_tokenizer;
using testing::token_texts;
using Texts = std::vector<std::string>;
using Ids = std::vector<TokenId>;

const std::string kSpace = "\u0120";  // how byte-level vocabularies write a space

json english() {
  return byte_level_json({{"h", "e"},
                          {"l", "l"},
                          {"he", "ll"},
                          {"hell", "o"},
                          {kSpace, "w"},
                          {"o", "r"},
                          {kSpace + "w", "or"},
                          {"l", "d"}});
}

// Llama 3: its split expression, whole words first, a begin token.
json llama3() {
  json document = english();
  document["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"},
         {"pattern",
          {{"Regex",
            R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}}},
         {"behavior", "Isolated"},
         {"invert", false}},
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
  document["model"]["ignore_merges"] = true;
  document["model"]["vocab"]["world"] = document["model"]["vocab"].size();
  document["model"]["vocab"][kSpace + "world"] = document["model"]["vocab"].size();
  document["added_tokens"].push_back(
      added_token(document, "<|begin_of_text|>", {{"special", true}}));
  document["post_processor"] = {
      {"type", "Sequence"},
      {"processors",
       {{{"type", "ByteLevel"}, {"add_prefix_space", true}},
        {{"type", "TemplateProcessing"},
         {"single",
          {{{"SpecialToken", {{"id", "<|begin_of_text|>"}, {"type_id", 0}}}},
           {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
         {"special_tokens",
          {{"<|begin_of_text|>",
            {{"id", "<|begin_of_text|>"}, {"ids", {266}}, {"tokens", {"<|begin_of_text|>"}}}}}}}}}};
  return document;
}

TEST(BpeTokenizer, MergesTheEarliestPairFirst) {
  const auto tokenizer = parse_tokenizer(english());
  EXPECT_EQ(token_texts(*tokenizer, "hello world"), (Texts{"hello", " wor", "ld"}));
  // "l l" comes before "l d" in the list, wherever they stand.
  EXPECT_EQ(token_texts(*tokenizer, "lld"), (Texts{"ll", "d"}));
  EXPECT_EQ(token_texts(*tokenizer, "lll"), (Texts{"ll", "l"}));
}

TEST(BpeTokenizer, MergesMayBeWrittenAsTextOrAsPairs) {
  json text = english();
  for (json& merge : text["model"]["merges"]) {
    merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  }
  text["model"]["merges"].insert(text["model"]["merges"].begin(), "#version: 0.2");
  EXPECT_EQ(parse_tokenizer(text)->encode("hello world"),
            parse_tokenizer(english())->encode("hello world"));
}

TEST(BpeTokenizer, LongWordsMergeLikeShortOnes) {
  const auto tokenizer = parse_tokenizer(english());
  std::string text;
  Ids expected;
  for (int i = 0; i < 100; ++i) {
    text += "hello";
    expected.push_back(*tokenizer->token_id("hello"));
  }
  EXPECT_EQ(tokenizer->encode(text), expected);
}

TEST(BpeTokenizer, BytesThatTheVocabularyLacksLeaveNoTrace) {
  json document = english();
  document["model"]["vocab"].erase("x");
  EXPECT_EQ(token_texts(*parse_tokenizer(document), "axb"), (Texts{"a", "b"}));
}

TEST(BpeTokenizer, TextThatIsNotUtf8IsReplaced) {
  const auto tokenizer = parse_tokenizer(english());
  const std::string fffd(kReplacementCharacter);
  EXPECT_EQ(tokenizer->encode("a\xFF\xE4\xBDz\xC3"),
            tokenizer->encode("a" + fffd + fffd + "z" + fffd));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("\xFF")), fffd);
}

TEST(BpeTokenizer, Llama3TakesWholeWordsBeforeMerges) {
  const auto tokenizer = parse_tokenizer(llama3());
  EXPECT_EQ(token_texts(*tokenizer, "world world hello"), (Texts{"world", " world", " ", "hello"}));
  json merging = llama3();
  merging["model"]["ignore_merges"] = false;
  EXPECT_EQ(token_texts(*parse_tokenizer(merging), "world"), (Texts{"w", "or", "ld"}));
}

TEST(BpeTokenizer, Llama3SplitsNumbersInThreesAndContractions) {
  json document = llama3();
  add_merges(document, {{"1", "2"}, {"12", "3"}, {"4", "5"}, {"123", "45"}, {"'", "S"}});
  document["added_tokens"] = json::array();
  document.erase("post_processor");
  EXPECT_EQ(token_texts(*parse_tokenizer(document), "12345'S"), (Texts{"123", "45", "'S"}));
}

TEST(BpeTokenizer, TheTemplateStandsAroundTheText) {
  const auto tokenizer = parse_tokenizer(llama3());
  const Ids hello = {*tokenizer->token_id("hello")};
  EXPECT_EQ(tokenizer->encode("hello"), hello);
  EXPECT_EQ(tokenizer->encode_with_special("hello"), (Ids{266, hello[0]}));
  EXPECT_EQ(tokenizer->encode_with_special(""), Ids{266});
  EXPECT_EQ(tokenizer->decode({266, hello[0]}), "hello");
}

TEST(BpeTokenizer, ByteFallbackWritesUnknownCharactersAsBytes) {
  const auto tokenizer = parse_tokenizer(byte_fallback_json({{kMark, "a"}, {kMark + "a", "b"}}));
  EXPECT_EQ(tokenizer->encode("ab \u00E9"),
            (Ids{*tokenizer->token_id(kMark + "ab"), *tokenizer->token_id(kMark),
                 *tokenizer->token_id("<0xC3>"), *tokenizer->token_id("<0xA9>")}));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(" ab \u00E9 ")), " ab \u00E9 ");
}

TEST(BpeTokenizer, UnknownCharactersFuseOrNot) {
  json document = byte_fallback_json({});
  document["model"]["byte_fallback"] = false;
  EXPECT_EQ(parse_tokenizer(document)->encode("a\u00E9\u00E9b\u00E9"), (Ids{259, 260, 0, 261, 0}));
  document["model"]["fuse_unk"] = false;
  EXPECT_EQ(parse_tokenizer(document)->encode("a\u00E9\u00E9b"), (Ids{259, 260, 0, 0, 261}));
  document["model"].erase("unk_token");
  EXPECT_EQ(parse_tokenizer(document)->encode("a\u00E9\u00E9b"), (Ids{259, 260, 261}));
}

TEST(BpeTokenizer, MetaspaceGivesTheIdsOfTheNormalizerItReplaced) {
  const testing::Merges merges = {{kMark, "a"}, {kMark + "a", "b"}, {kMark, kMark}};
  json metaspace = byte_fallback_json(merges);
  metaspace["normalizer"] = nullptr;
  for (const bool splits : {true, false}) {
    metaspace["pre_tokenizer"] = {{"type", "Metaspace"},
                                  {"replacement", kMark},
                                  {"prepend_scheme", "first"},
                                  {"split", splits}};
    for (const char* text : {"ab ab", "ab", "x y", ""}) {
      EXPECT_EQ(parse_tokenizer(metaspace)->encode(text),
                parse_tokenizer(byte_fallback_json(merges))->encode(text))
          << text;
    }
  }
}

TEST(BpeTokenizer, MetaspaceFirstPrependsOnlyBeforeTheInput) {
  json document = byte_fallback_json({{kMark, "a"}});
  document["normalizer"] = nullptr;
  document["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", kMark}, {"prepend_scheme", "first"}};
  const auto first = parse_tokenizer(document);
  const TokenId marked = *first->token_id(kMark + "a");
  const TokenId plain = *first->token_id("a");
  EXPECT_EQ(first->encode("a<s>a"), (Ids{marked, 1, plain}));
  EXPECT_EQ(first->encode("<s>a"), (Ids{1, plain}));
  document["pre_tokenizer"]["prepend_scheme"] = "always";
  EXPECT_EQ(parse_tokenizer(document)->encode("a<s>a"), (Ids{marked, 1, marked}));
}

TEST(BpeTokenizer, MergesAcrossWordMarksAreDone) {
  const auto tokenizer = parse_tokenizer(byte_fallback_json({{"a", kMark}, {"a" + kMark, "b"}}));
  EXPECT_EQ(tokenizer->encode("a b"),
            (Ids{*tokenizer->token_id(kMark), *tokenizer->token_id("a" + kMark + "b")}));
}

TEST(BpeTokenizer, LiteralSpecialTokensAreOrdinaryText) {
  json document = byte_fallback_json({{"s", "x"}});
  const auto tokenizer = parse_tokenizer(document);
  EXPECT_EQ(tokenizer->encode("<s>", SpecialTokens::kParse), Ids{1});
  const Ids literal = tokenizer->encode("<s>", SpecialTokens::kLiteral);
  EXPECT_EQ(std::count(literal.begin(), literal.end(), 1), 0);
  EXPECT_EQ(tokenizer->decode(literal), "<s>");
}

// A vocabulary whose merges spell a special token: typing it must still not make one.
TEST(BpeTokenizer, NoMergeForgesASpecialToken) {
  for (const bool ignore_merges : {false, true}) {
    json document = byte_level_json({{"<", "e"}, {"<e", ">"}});
    document["model"]["ignore_merges"] = ignore_merges;
    document["pre_tokenizer"]["use_regex"] = false;
    document["added_tokens"].push_back(
        added_token(document, "<e>", {{"id", 257}, {"special", true}}));
    const auto tokenizer = parse_tokenizer(document);
    EXPECT_EQ(tokenizer->encode("<e>"), Ids{257});
    EXPECT_EQ(tokenizer->encode("<e>", SpecialTokens::kLiteral), (Ids{256, '>'}));
  }
}

TEST(BpeTokenizer, KnowsItsTokens) {
  const auto tokenizer = parse_tokenizer(byte_fallback_json({{"a", "b"}}));
  EXPECT_EQ(tokenizer->token_id("ab"), tokenizer->vocab_size() - 1);
  EXPECT_EQ(tokenizer->token_id("nothing"), std::nullopt);
  EXPECT_TRUE(tokenizer->is_special(1));
  EXPECT_FALSE(tokenizer->is_special(3));
  EXPECT_FALSE(tokenizer->is_special(-1));
  EXPECT_FALSE(tokenizer->is_special(1 << 30));
  EXPECT_EQ(tokenizer->decode({1, *tokenizer->token_id("ab"), 1 << 30, -5}), "ab");
}

TEST(BpeTokenizer, TheFingerprintFollowsTheFile) {
  const auto one = parse_tokenizer(english());
  EXPECT_EQ(one->fingerprint().size(), 64u);
  EXPECT_EQ(one->fingerprint(), parse_tokenizer(english())->fingerprint());
  EXPECT_NE(one->fingerprint(), parse_tokenizer(llama3())->fingerprint());
}

// A megabyte takes well under a second; anything quadratic would take hours.
TEST(BpeTokenizer, LongInputsTakeLinearTime) {
  const auto byte_level = parse_tokenizer(llama3());
  const auto fallback = parse_tokenizer(byte_fallback_json({{kMark, kMark}, {"a", "a"}}));
  constexpr size_t kMegabyte = 1 << 20;
  const auto start = std::chrono::steady_clock::now();
  for (const char* unit : {"a", " ", "\n", "7", "\u4F60", "<", "'", "<|begin_of_text|", " a"}) {
    std::string text;
    while (text.size() < kMegabyte) text += unit;
    for (const Tokenizer* tokenizer : {byte_level.get(), fallback.get()}) {
      EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text) << unit;
    }
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::minutes(2));
}

TEST(BpeTokenizer, ManyThreadsShareOneTokenizer) {
  const auto tokenizer = parse_tokenizer(llama3());
  std::string text;
  for (int i = 0; i < 200; ++i) text += "hello world " + std::to_string(i) + " \u4F60<e>\n";
  const Ids expected = tokenizer->encode(text);
  std::vector<Ids> results(8);
  std::vector<std::thread> threads;
  for (Ids& result : results) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) result = tokenizer->encode(text);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Ids& result : results) EXPECT_EQ(result, expected);
}

}  // namespace
}  // namespace molora
