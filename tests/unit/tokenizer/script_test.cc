#include "tokenizer/script.h"

#include <string>

#include <gtest/gtest.h>

namespace molora {
namespace {

std::string script_of(std::string_view text) {
  ScriptCounter counter;
  counter.add(text);
  return std::string(counter.most());
}

TEST(ScriptCounter, NamesTheScriptOfMostLetters) {
  EXPECT_EQ(script_of("What is an\u00E9mie?"), "latin");
  EXPECT_EQ(script_of("\u4ec0\u4e48\u662f\u8d2b\u8840\uff1f"), "han");
  EXPECT_EQ(script_of("\uBE48\uD608\uC774\uB780"), "hangul");
  EXPECT_EQ(script_of("\u0427\u0442\u043E \u0442\u0430\u043A\u043E\u0435"), "cyrillic");
  EXPECT_EQ(script_of("\u0645\u0627 \u0647\u0648"), "arabic");
  EXPECT_EQ(script_of("\u0905\u0930\u0915"), "devanagari");
  EXPECT_EQ(script_of("\u0E42\u0E25\u0E2B\u0E34\u0E15"), "thai");
  EXPECT_EQ(script_of("\u03B1\u03B2\u03B3"), "greek");
  EXPECT_EQ(script_of("\u05D0\u05D1\u05D2"), "hebrew");
}

TEST(ScriptCounter, LettersOfOtherScriptsAndNoLettersAreOther) {
  EXPECT_EQ(script_of("\u10D0\u10D1\u10D2"), "other") << "Georgian";
  EXPECT_EQ(script_of("\u10D0Latin"), "latin") << "a letter of another script ends where it ends";
  EXPECT_EQ(script_of("12.5 % + 3 = \u3002\uFF0C\u00D7"), "other") << "no letter";
  EXPECT_EQ(script_of(""), "other");
}

TEST(ScriptCounter, JapaneseIsKanaAlthoughMostOfItIsHan) {
  EXPECT_EQ(script_of("\u9244\u6B20\u4E4F\u6027\u8CA7\u8840\u306E\u6CBB\u7642"), "kana");
  EXPECT_EQ(script_of("\u9244\u6B20\u4E4F\u6027\u8CA7\u8840\u6CBB\u7642\u65B9\u6CD5\u306E"), "han")
      << "one character of kana is a quotation";
}

TEST(ScriptCounter, AHanCharacterCountsAsThreeLetters) {
  EXPECT_EQ(script_of("\u670D\u7528 metfo"), "han");
  EXPECT_EQ(script_of("\u670D\u7528 metform"), "latin");
}

TEST(ScriptCounter, AddsTextsUp) {
  ScriptCounter counter;
  counter.add("MRI");
  EXPECT_EQ(counter.most(), "latin");
  counter.add("\u662F\u4EC0\u4E48");
  EXPECT_EQ(counter.most(), "han");
}

TEST(ScriptCounter, BytesThatAreNotTextCountForNothing) {
  EXPECT_EQ(script_of("\xE4\xBD ab \xFF\xFE"), "latin");
}

// A run without an end needs no more than a short one.
TEST(ScriptCounter, ALongRunIsOneOfManyLetters) {
  std::string text(8 << 20, 'a');
  EXPECT_EQ(script_of(text), "latin");
  for (int i = 0; i < 3 << 20; ++i) text += "\u8840";
  EXPECT_EQ(script_of(text), "han");
}

}  // namespace
}  // namespace molora
