#include "io/strict_json.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

std::string nested(int levels) {
  const auto count = static_cast<size_t>(levels);
  return std::string(count, '[') + std::string(count, ']');
}

TEST(StrictJson, GivesTheValue) {
  EXPECT_EQ(parse_strict_json(R"({"a": [1, "b"]})"), (nlohmann::json{{"a", {1, "b"}}}));
}

TEST(StrictJson, AZeroCharacterIsPartOfAString) {
  EXPECT_EQ(parse_strict_json(R"("a\u0000b")").get<std::string>(), std::string("a\0b", 3));
}

TEST(StrictJson, TheSameKeyMayStandInTwoObjects) {
  EXPECT_NO_THROW((void)parse_strict_json(R"([{"a": {"a": 1}}, {"a": 2}])"));
}

TEST(StrictJson, AKeyTwiceInOneObjectIsRefused) {
  EXPECT_THROW_WITH((void)parse_strict_json(R"({"a": {"b": 1, "c": 2, "b": 3}})"), DataError,
                    "expected each key once, got \"b\" twice in one object");
}

TEST(StrictJson, DeepNestingIsRefusedAndTheLimitItselfIsNot) {
  EXPECT_NO_THROW((void)parse_strict_json(nested(kMaxJsonDepth)));
  EXPECT_THROW_WITH((void)parse_strict_json(nested(kMaxJsonDepth + 1)), DataError,
                    "expected at most 64 levels of nesting, got more");
  EXPECT_THROW_WITH((void)parse_strict_json(std::string(1 << 20, '[')), DataError, "nesting");
}

TEST(StrictJson, InvalidUtf8IsRefused) {
  EXPECT_THROW_WITH((void)parse_strict_json("\"a\xff\""), DataError,
                    "expected JSON, got at byte 3: ", "ill-formed UTF-8");
  EXPECT_THROW_WITH((void)parse_strict_json(R"("\ud800")"), DataError, "expected JSON, got at byte",
                    "surrogate");
}

TEST(StrictJson, TheMessageSaysWhereAndWhyWithoutTheText) {
  try {
    (void)parse_strict_json(R"({"a": "a long text that is nobody's business" "b"})");
    FAIL() << "nothing thrown";
  } catch (const DataError& error) {
    EXPECT_STREQ(error.what(),
                 "expected JSON, got at byte 49: syntax error while parsing object - unexpected "
                 "string literal; expected '}'");
  }
}

TEST(StrictJson, ANumberThatIsTooLargeIsRefused) {
  EXPECT_THROW_WITH((void)parse_strict_json("[1e999]"), DataError,
                    "expected JSON, got: number overflow parsing '1e999'");
}

TEST(StrictJson, MessagesStayShort) {
  try {
    (void)parse_strict_json("1" + std::string(10000, '0'));
    FAIL() << "nothing thrown";
  } catch (const DataError& error) {
    EXPECT_LT(std::string(error.what()).size(), 300u);
  }
}

TEST(JsonExcerpt, QuotesAndEscapes) { EXPECT_EQ(json_excerpt("a\n\xc3\xa9"), R"("a\n\u00e9")"); }

TEST(JsonExcerpt, CutsLongTextAlsoWithinACharacter) {
  EXPECT_EQ(json_excerpt(std::string(47, 'a') + "\xc3\xa9"), "\"" + std::string(47, 'a') + "\"..");
}

}  // namespace
}  // namespace molora
