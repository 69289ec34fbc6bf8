#include "serve/answer_text.h"

#include <random>

#include <gtest/gtest.h>

#include "support/tiny_tokenizer.h"
#include "tokenizer/utf8.h"

namespace molora {
namespace {

using Pieces = std::vector<std::string>;

// A token a byte.
const Tokenizer& byte_tokenizer() {
  static const auto tokenizer = testing::parse_tokenizer(testing::byte_level_json({}));
  return *tokenizer;
}

// What the tokens of `text` give one by one, and at last what finish() gives.
Pieces pieces_of(const Tokenizer& tokenizer, const std::string& text, const Pieces& stops) {
  AnswerText answer(tokenizer, stops);
  Pieces pieces;
  for (const TokenId id : tokenizer.encode(text)) pieces.push_back(answer.feed(id));
  pieces.push_back(answer.finish());
  return pieces;
}

std::string joined(const Pieces& pieces) {
  std::string all;
  for (const std::string& piece : pieces) all += piece;
  return all;
}

// By definition: the text before the stop string that ends first; of those the longest.
std::string cut_by_definition(const std::string& text, const Pieces& stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops) {
      if (text.substr(0, end).ends_with(stop)) longest = std::max(longest, stop.size());
    }
    if (longest > 0) return text.substr(0, end - longest);
  }
  return text;
}

TEST(AnswerText, GivesWhatIsCertainAtOnce) {
  EXPECT_EQ(pieces_of(byte_tokenizer(), "abc", {}), (Pieces{"a", "b", "c", ""}));
}

TEST(AnswerText, EndsBeforeAStopStringAcrossTokens) {
  EXPECT_EQ(pieces_of(byte_tokenizer(), "ab\n\ncd", {"\n\n"}),
            (Pieces{"a", "b", "", "", "", "", ""}));
}

TEST(AnswerText, HoldsBackWhatMayBecomeAStopString) {
  EXPECT_EQ(pieces_of(byte_tokenizer(), "xENx", {"END"}), (Pieces{"x", "", "", "ENx", ""}));
  EXPECT_EQ(pieces_of(byte_tokenizer(), "xEN", {"END"}), (Pieces{"x", "", "", "EN"}));
  EXPECT_EQ(pieces_of(byte_tokenizer(), "aab", {"aac"}), (Pieces{"", "", "aab", ""}));
}

TEST(AnswerText, AStopStringWithinATokenCutsIt) {
  const auto tokenizer =
      testing::parse_tokenizer(testing::byte_level_json({{"a", "b"}, {"c", "d"}, {"ab", "cd"}}));
  ASSERT_EQ(tokenizer->encode("abcd").size(), 1u);
  EXPECT_EQ(pieces_of(*tokenizer, "abcd", {"c"}), (Pieces{"ab", ""}));
}

TEST(AnswerText, TellsThatItStopped) {
  AnswerText answer(byte_tokenizer(), {"b"});
  EXPECT_EQ(answer.feed('a'), "a");
  EXPECT_FALSE(answer.is_stopped());
  EXPECT_EQ(answer.feed('b'), "");
  EXPECT_TRUE(answer.is_stopped());
  EXPECT_EQ(answer.feed('c'), "");
  EXPECT_EQ(answer.finish(), "");
}

TEST(AnswerText, CharactersOfSeveralBytesComeWhole) {
  const std::string text = "\xE5\x92\xB3z\xF0\x9F\x92\x8A";  // U+54B3, z, U+1F48A
  EXPECT_EQ(pieces_of(byte_tokenizer(), text, {}),
            (Pieces{"", "", "\xE5\x92\xB3", "z", "", "", "", "\xF0\x9F\x92\x8A", ""}));
}

TEST(AnswerText, ACharacterThatIsCutAtTheEndIsReplacedOnce) {
  AnswerText answer(byte_tokenizer(), {});
  EXPECT_EQ(answer.feed(0xE5), "");
  EXPECT_EQ(answer.feed(0x92), "");
  EXPECT_EQ(answer.finish(), std::string(kReplacementCharacter));
}

TEST(AnswerText, ByteFallbackTokensAreHeldUntilTheCharacterIsComplete) {
  const auto tokenizer = testing::parse_tokenizer(testing::byte_fallback_json({}));
  AnswerText answer(*tokenizer, {});
  Pieces pieces;
  for (const int byte : {0xE5, 0x92, 0xB3}) pieces.push_back(answer.feed(3 + byte));
  pieces.push_back(answer.feed(*tokenizer->token_id("a")));
  pieces.push_back(answer.finish());
  EXPECT_EQ(joined(pieces), "\xE5\x92\xB3" + std::string("a"));
  for (const std::string& piece : pieces) {
    std::string buffer;
    EXPECT_EQ(repaired_utf8(piece, buffer).data(), piece.data()) << "part of a character";
  }
}

TEST(AnswerText, RandomTextsAndStopsEqualTheDefinition) {
  std::mt19937 dice(7);
  const Pieces letters = {"a", "b", "\xC3\xA9", "\xE5\x92\xB3"};
  const auto random_text = [&](size_t length) {
    std::string text;
    for (size_t i = 0; i < length; ++i) text += letters[dice() % letters.size()];
    return text;
  };
  int num_stopped = 0;
  for (int round = 0; round < 2000; ++round) {
    const std::string text = random_text(dice() % 20);
    Pieces stops;
    for (size_t i = dice() % 4; i > 0; --i) stops.push_back(random_text(1 + dice() % 4));
    const std::string expected = cut_by_definition(text, stops);
    EXPECT_EQ(joined(pieces_of(byte_tokenizer(), text, stops)), expected) << text;
    num_stopped += expected != text ? 1 : 0;
  }
  EXPECT_GT(num_stopped, 200);
}

}  // namespace
}  // namespace molora
