#include "tokenizer/stream_decoder.h"

#include <random>

#include <gtest/gtest.h>

#include "support/tiny_tokenizer.h"

namespace molora {
namespace {

using testing::byte_fallback_json;
using testing::byte_level_json;
using testing::kMark;
using testing::parse_tokenizer;
using testing::streamed;
using Texts = std::vector<std::string>;

TEST(TokenizerStreamDecoder, GivesTextAsSoonAsItIsCertain) {
  const auto tokenizer = parse_tokenizer(byte_level_json({{"h", "i"}}));
  EXPECT_EQ(streamed(*tokenizer, {256, ' ', 0xE4, 0xBD, 0xA0, '!'}),
            (Texts{"hi", " ", "", "", "\u4F60", "!", ""}));
}

TEST(TokenizerStreamDecoder, ReplacesOnlyWhatNothingCanComplete) {
  const auto tokenizer = parse_tokenizer(byte_level_json({}));
  EXPECT_EQ(streamed(*tokenizer, {0xF0, 0x9F, 'a', 0x80, 0xC3}),
            (Texts{"", "", "\uFFFDa", "\uFFFD", "", "\uFFFD"}));
}

TEST(TokenizerStreamDecoder, HoldsByteTokensUntilTheirRunEnds) {
  const auto tokenizer = parse_tokenizer(byte_fallback_json({{kMark, "a"}}));
  const TokenId a = *tokenizer->token_id(kMark + "a");
  EXPECT_EQ(streamed(*tokenizer, {a, 3 + 0xC3, 3 + 0xA9, a, 3 + 0xC3}),
            (Texts{"a", "", "", "\u00E9 a", "", "\uFFFD"}));
}

TEST(TokenizerStreamDecoder, SkippedAndUnknownIdsGiveNothing) {
  const auto tokenizer = parse_tokenizer(byte_fallback_json({}));
  EXPECT_EQ(streamed(*tokenizer, {1, -1, 1 << 29, 2}), (Texts{"", "", "", "", ""}));
}

TEST(TokenizerStreamDecoder, RandomIdsGiveWhatDecodingAtOnceGives) {
  std::mt19937 random(7);
  for (const auto& document : {byte_level_json({}), byte_fallback_json({{kMark, "a"}})}) {
    const auto tokenizer = parse_tokenizer(document);
    std::uniform_int_distribution<TokenId> any(0, tokenizer->vocab_size());
    for (int round = 0; round < 500; ++round) {
      std::vector<TokenId> ids(20);
      for (TokenId& id : ids) id = any(random);
      std::string text;
      for (const std::string& part : streamed(*tokenizer, ids)) text += part;
      ASSERT_EQ(text, tokenizer->decode(ids));
    }
  }
}

}  // namespace
}  // namespace molora
