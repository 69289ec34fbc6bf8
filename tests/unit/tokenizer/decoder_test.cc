#include "tokenizer/decoder.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "support/expect_throw.h"
#include "tokenizer/utf8.h"

namespace molora {
namespace {

using nlohmann::json;
using Texts = std::vector<std::string>;

const std::string kMark = "\u2581";
const std::string kFffd(kReplacementCharacter);

// The tokens' texts, one id each.
struct Decoded {
  std::string whole;
  Texts streamed;  // one for each token, and the rest
};

Decoded decoded(const Decoder& decoder, const Texts& tokens) {
  Vocabulary vocabulary;
  std::vector<TokenId> ids;
  for (const std::string& token : tokens) {
    if (!vocabulary.find(token)) vocabulary.insert(vocabulary.end_id(), token);
    ids.push_back(*vocabulary.find(token));
  }
  Decoded result;
  result.whole = decoder.decode(ids, vocabulary, {});
  const auto stream = decoder.start(vocabulary, {});
  std::string together;
  for (const TokenId id : ids) {
    result.streamed.push_back(stream->feed(id));
    together += result.streamed.back();
  }
  result.streamed.push_back(stream->finish());
  EXPECT_EQ(together + result.streamed.back(), result.whole);
  return result;
}

Decoder decoder(const json& document) { return Decoder(JsonAt(document, "d.json")); }
std::string text_of(const json& document, const Texts& tokens) {
  return decoded(decoder(document), tokens).whole;
}
json sequence(const std::vector<json>& steps) {
  return {{"type", "Sequence"}, {"decoders", steps}};
}
json replace(const char* pattern, const char* content) {
  return {{"type", "Replace"}, {"pattern", {{"String", pattern}}}, {"content", content}};
}
json strip(size_t start, size_t stop) {
  return {{"type", "Strip"}, {"content", " "}, {"start", start}, {"stop", stop}};
}

TEST(TokenizerDecoder, NoneJoinsTokensWithSpaces) {
  EXPECT_EQ(decoded(Decoder(), {"a", "b", "a"}).whole, "a b a");
  EXPECT_EQ(decoded(Decoder(), {}).whole, "");
}

TEST(TokenizerDecoder, ByteLevelReadsTheLettersOfBytes) {
  // U+0120 is a space, "\u00E4\u00BD\u0142" the bytes of U+4F60.
  EXPECT_EQ(text_of({{"type", "ByteLevel"}}, {"a", "\u0120b", "\u00E4\u00BD", "\u0142"}),
            "a b\u4F60");
}

TEST(TokenizerDecoder, ByteLevelTakesTokensOutsideTheAlphabetAsTheyAre) {
  EXPECT_EQ(text_of({{"type", "ByteLevel"}}, {"a", "<\u4F60 >"}), "a<\u4F60 >");
}

TEST(TokenizerDecoder, ByteLevelStreamsNoHalfCharacters) {
  const Decoded result =
      decoded(decoder({{"type", "ByteLevel"}}), {"x\u00F0", "\u0141", "\u013A", "\u0122y"});
  EXPECT_EQ(result.streamed, (Texts{"x", "", "", "\U0001F600y", ""}));
}

TEST(TokenizerDecoder, ByteLevelReplacesWhatCannotBecomeACharacter) {
  // E4 then a letter: certain at once that E4 stays alone.
  const Decoded broken = decoded(decoder({{"type", "ByteLevel"}}), {"\u00E4", "a", "\u00E4\u00BD"});
  EXPECT_EQ(broken.streamed, (Texts{"", kFffd + "a", "", kFffd}));
}

TEST(TokenizerDecoder, ByteFallbackReplacesEveryByteOfABrokenRun) {
  const json document = sequence({{{"type", "ByteFallback"}}, {{"type", "Fuse"}}});
  EXPECT_EQ(text_of(document, {"a", "<0xE4>", "<0xBD>", "<0xA0>", "b"}), "a\u4F60b");
  EXPECT_EQ(text_of(document, {"a", "<0xE4>", "<0xBD>", "b"}), "a" + kFffd + kFffd + "b");
  EXPECT_EQ(text_of(document, {"<0xE4>", "<0xBD>", "<0xA0>", "<0xFF>"}),
            kFffd + kFffd + kFffd + kFffd);
  EXPECT_EQ(text_of(document, {"<0xZZ>", "<0x1>", "<0x-1>"}), "<0xZZ><0x1><0x-1>");
}

TEST(TokenizerDecoder, ByteFallbackStreamsARunWhenItEnds) {
  const Decoded result =
      decoded(decoder({{"type", "ByteFallback"}}), {"a", "<0x62>", "<0x63>", "d", "<0x65>"});
  EXPECT_EQ(result.streamed, (Texts{"a", "", "", "bcd", "", "e"}));
}

TEST(TokenizerDecoder, LlamaTakesOneSpaceOffTheBeginning) {
  const json llama = sequence(
      {replace(kMark.c_str(), " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}, strip(1, 0)});
  for (const Decoder& d :
       {decoder(llama), Decoder::sentencepiece(Decoder::FirstSpace::kStripped)}) {
    const Decoded result = decoded(d, {kMark, kMark + "a", kMark + "b"});
    EXPECT_EQ(result.whole, " a b");
    EXPECT_EQ(result.streamed, (Texts{"", " a", " b", ""}));
  }
  EXPECT_EQ(decoded(Decoder::sentencepiece(Decoder::FirstSpace::kKept), {kMark + "a"}).whole, " a");
}

TEST(TokenizerDecoder, StripCountsWithinEachToken) {
  EXPECT_EQ(text_of(strip(2, 0), {"   a ", " b"}), " a b");
  EXPECT_EQ(text_of(strip(0, 2), {" a   ", "b ", "  "}), " a b");
  EXPECT_EQ(text_of(strip(1, 1), {" ", "  ", "   "}), " ");
}

TEST(TokenizerDecoder, StripOfFusedTextHoldsBackItsEnd) {
  const Decoded result =
      decoded(decoder(sequence({{{"type", "Fuse"}}, strip(0, 1)})), {"a  ", " ", "b", " "});
  EXPECT_EQ(result.whole, "a   b");
  EXPECT_EQ(result.streamed, (Texts{"a ", " ", " b", "", ""}));
}

TEST(TokenizerDecoder, MetaspaceDropsTheMarksOfTheFirstTokenUnlessNever) {
  json document = {{"type", "Metaspace"}, {"replacement", kMark}};
  EXPECT_EQ(text_of(document, {kMark + "a", kMark + "b"}), "a b");
  document["prepend_scheme"] = "never";
  EXPECT_EQ(text_of(document, {kMark + "a", kMark + "b"}), " a b");
}

TEST(TokenizerDecoder, ReplaceWorksOnEachTokenOrOnTheFusedText) {
  EXPECT_EQ(text_of(replace("ab", "x"), {"a", "b", "ab"}), "abx");
  EXPECT_EQ(text_of(sequence({{{"type", "Fuse"}}, replace("ab", "x")}), {"a", "b", "ab"}), "xx");
}

TEST(TokenizerDecoder, SkipsSpecialTokensIfAsked) {
  Vocabulary vocabulary;
  vocabulary.insert(0, "a");
  vocabulary.insert(5, "<s>");
  vocabulary.mark_special(5);
  const Decoder fuse = decoder({{"type", "Fuse"}});
  EXPECT_EQ(fuse.decode({5, 0, 5, 3, 99, -1}, vocabulary, {.skip_special = true}), "a");
  EXPECT_EQ(fuse.decode({5, 0, 5, 3, 99, -1}, vocabulary, {.skip_special = false}), "<s>a<s>");
}

struct Refusal {
  const char* name;
  json document;
  const char* message;
};
class TokenizerDecoderRefusal : public ::testing::TestWithParam<Refusal> {};

TEST_P(TokenizerDecoderRefusal, NamesThePlaceAndTheReason) {
  EXPECT_THROW_WITH(decoder(GetParam().document), DataError, "d.json", GetParam().message);
}

json nested(int depth) {
  json document = {{"type", "Fuse"}};
  for (int i = 0; i < depth; ++i) document = sequence({document});
  return document;
}

INSTANTIATE_TEST_SUITE_P(
    All, TokenizerDecoderRefusal,
    ::testing::Values(
        Refusal{"kind", {{"type", "WordPiece"}}, "decoder WordPiece is not supported"},
        Refusal{"strip_content",
                {{"type", "Strip"}, {"content", "ab"}, {"start", 1}, {"stop", 0}},
                "content: is not one character"},
        Refusal{"strip_count",
                {{"type", "Strip"}, {"content", "a"}, {"start", -1}, {"stop", 0}},
                "start: is not a whole number"},
        Refusal{"growth", replace("a", std::string(2000, 'b').c_str()),
                "more than 1024 times as long"},
        Refusal{"deep", nested(40), "nested too deeply"}),
    [](const auto& refusal) { return refusal.param.name; });

}  // namespace
}  // namespace molora
