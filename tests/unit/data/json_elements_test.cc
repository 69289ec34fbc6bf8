#include "data/json_elements.h"

#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

using Found = std::vector<std::pair<std::string, uint64_t>>;

Found elements_of(std::string_view text, JsonElements::Layout layout) {
  JsonElements elements(text, layout, "file");
  Found found;
  while (const auto element = elements.next()) {
    found.emplace_back(std::string(element->text), element->line);
  }
  EXPECT_EQ(elements.position(), text.size());
  EXPECT_FALSE(elements.next());
  return found;
}

Found lines_of(std::string_view text) { return elements_of(text, JsonElements::Layout::kLines); }
Found array_of(std::string_view text) { return elements_of(text, JsonElements::Layout::kArray); }

TEST(JsonLines, EachLineIsAnElementWithItsNumber) {
  EXPECT_EQ(lines_of("{}\n[1, 2]\n"), (Found{{"{}", 1}, {"[1, 2]", 2}}));
}

TEST(JsonLines, EmptyLinesCountButAreNoElements) {
  EXPECT_EQ(lines_of("\n  \t\n{}\n\n\n1\n\n"), (Found{{"{}", 3}, {"1", 6}}));
}

TEST(JsonLines, TheLastNewlineMayBeMissing) {
  EXPECT_EQ(lines_of("1\n2"), (Found{{"1", 1}, {"2", 2}}));
}

TEST(JsonLines, CarriageReturnsBeforeNewlinesAreNoPartOfAnElement) {
  EXPECT_EQ(lines_of("1\r\n2\r\n"), (Found{{"1", 1}, {"2", 2}}));
}

TEST(JsonLines, AByteOrderMarkIsPassedOver) {
  EXPECT_EQ(lines_of("\xef\xbb\xbf{}\n"), (Found{{"{}", 1}}));
}

TEST(JsonLines, AnEmptyTextHasNoElements) {
  EXPECT_TRUE(lines_of("").empty());
  EXPECT_TRUE(lines_of("\n\n").empty());
}

TEST(JsonArray, EachElementHasTheLineOfItsBeginning) {
  EXPECT_EQ(array_of("[\n {\"a\":\n 1},\n\n 2,3\n]\n"),
            (Found{{"{\"a\":\n 1}", 2}, {"2", 5}, {"3", 5}}));
}

TEST(JsonArray, BracketsAndCommasInStringsDoNotEndAnElement) {
  EXPECT_EQ(array_of(R"([["],", "\"]"], "\\", {"a": "}"}])"),
            (Found{{R"(["],", "\"]"])", 1}, {R"("\\")", 1}, {R"({"a": "}"})", 1}}));
}

TEST(JsonArray, AnEmptyArrayHasNoElements) {
  EXPECT_TRUE(array_of(" [ ] ").empty());
  EXPECT_TRUE(array_of("\xef\xbb\xbf[]").empty());
}

// What is not an array from beginning to end, and the message that must say so.
struct BrokenArray {
  const char* what;
  const char* text;
  const char* message;
};

class JsonArrayRefusal : public ::testing::TestWithParam<BrokenArray> {};

TEST_P(JsonArrayRefusal, NamesTheLineAndTheReason) {
  EXPECT_THROW_WITH(array_of(GetParam().text), DataError, GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    All, JsonArrayRefusal,
    ::testing::Values(
        BrokenArray{"empty", "",
                    "file:1: expected [, the beginning of one array of samples, got "
                    "the end of the file"},
        BrokenArray{"object", "\n{}",
                    "file:2: expected [, the beginning of one array of samples, "
                    "got {; a file with one sample a line is named .jsonl"},
        BrokenArray{"nothing_after_bracket", "[\n",
                    "file:2: expected a sample or the ] that ends "
                    "the array, got the end of the file"},
        BrokenArray{"cut_after_comma", "[1,\n", "file:2: expected a sample or the ]"},
        BrokenArray{"cut_in_element", "[1,\n{\"a\": [2]\n",
                    "file:2: the sample that begins here does not end"},
        BrokenArray{"cut_in_string", "[\"a\n]", "file:1: the sample that begins here does not end"},
        BrokenArray{"cut_in_escape", "[\"a\\", "file:1: the sample that begins here does not end"},
        BrokenArray{"trailing_comma", "[1,\n]", "file:2: expected a sample, got ]"},
        BrokenArray{"two_commas", "[1,,2]", "file:1: expected a sample, got ,"},
        BrokenArray{"more_after_array", "[1]\n[2]",
                    "file:2: expected the end of the file after the array, got ["},
        BrokenArray{"control_byte_after_array", "[1]\x01",
                    "file:1: expected the end of the file after the array, got byte 0x01"}),
    [](const auto& broken) { return broken.param.what; });

}  // namespace
}  // namespace molora
