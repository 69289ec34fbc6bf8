// YAML itself: lines, duplicate names, and text that is hostile or no text.
#include "config/yaml_tree.h"

#include <regex>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/config_faults.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

using testing::config_faults;
using testing::config_message;

// The tree of a text in which nothing is wrong.
YamlNode tree_of(const std::string& text) {
  Faults faults({{"t.yaml"}});
  auto tree = parse_yaml(text, {}, faults);
  faults.throw_if_any();
  return *tree;
}

TEST(YamlTree, KnowsTheLineOfEveryValue) {
  const YamlNode tree =
      tree_of("# comment\na:\n  b: 1\n  c:\n    - x\n    -\n      d: y\n\"e\":\n");
  EXPECT_EQ(tree.find("a")->place.line, 2);
  EXPECT_EQ(tree.find("a")->find("b")->place.line, 3);
  EXPECT_EQ(tree.find("a")->find("c")->place.line, 4);
  EXPECT_EQ(tree.find("a")->find("c")->children[0].place.line, 5);
  EXPECT_EQ(tree.find("a")->find("c")->children[1].find("d")->place.line, 7);
  EXPECT_EQ(tree.find("e")->place.line, 8);
  EXPECT_TRUE(tree.find("e")->is_null());
}

TEST(YamlTree, TellsQuotedFromPlain) {
  const YamlNode tree = tree_of("a: 'x'\nb: \"x\"\nc: x\nd: |\n  x\n");
  EXPECT_TRUE(tree.find("a")->is_quoted);
  EXPECT_TRUE(tree.find("b")->is_quoted);
  EXPECT_FALSE(tree.find("c")->is_quoted);
  EXPECT_EQ(tree.find("d")->text, "x\n");
}

TEST(YamlTree, IsNullForNoText) {
  EXPECT_TRUE(tree_of("").is_null());
  EXPECT_TRUE(tree_of("# only this\n").is_null());
  EXPECT_TRUE(tree_of("---\n").is_null());
  EXPECT_EQ(tree_of("").find("a"), nullptr);
}

TEST(YamlTree, CopiesAliases) {
  const YamlNode tree = tree_of("a: &x [1, 2]\nb: *x\nc: {d: *x}\n");
  EXPECT_EQ(tree.find("b")->children.size(), 2u);
  EXPECT_EQ(tree.find("b")->place.line, 2);
  EXPECT_EQ(tree.find("c")->find("d")->children[1].text, "2");
}

TEST(YamlTree, ReportsNamesThatStandTwiceAtEveryDepth) {
  EXPECT_EQ(config_faults("seed: 1\ntrain:\n  log_every: 1\n  'log_every': 2\nseed: 3\n"),
            "run.yaml:4: train.log_every: stands twice, first in line 3; remove one\n"
            "  run.yaml:5: seed: stands twice, first in line 1; remove one");
  EXPECT_EQ(config_faults("data:\n  eval:\n  - path: a\n  - path: b\n    path: c\n"),
            "run.yaml:5: data.eval[1].path: stands twice, first in line 4; remove one");
}

TEST(YamlTree, RefusesTags) {
  EXPECT_EQ(config_faults("seed: !!int 3\n"),
            "run.yaml:1: seed: expected no tag, got 'tag:yaml.org,2002:int'");
}

TEST(YamlTree, MergesMappingsAndReplacesTheRest) {
  YamlNode base = tree_of("a: {b: 1, c: 2}\nd: [1, 2]\ne: 1\nf: {g: 1}\nh: {i: 1}\n");
  merge_yaml(base, tree_of("a: {c: 3, x: 4}\nd: [5]\ne:\nf:\nh: 2\n"));
  EXPECT_EQ(base.find("a")->find("b")->text, "1");
  EXPECT_EQ(base.find("a")->find("c")->text, "3");
  EXPECT_EQ(base.find("a")->find("x")->text, "4");
  EXPECT_EQ(base.find("d")->children.size(), 1u);
  EXPECT_TRUE(base.find("e")->is_null());
  EXPECT_EQ(base.find("f")->find("g")->text, "1");
  EXPECT_EQ(base.find("h")->text, "2");
}

struct Hostile {
  const char* what;
  std::string text;
  const char* message;
};

std::string repeated(const std::string& text, size_t times) {
  std::string result;
  for (size_t i = 0; i < times; ++i) result += text;
  return result;
}

// Ten lines, each of which names the one before nine times: 9^10 values if it were expanded.
std::string alias_bomb() {
  std::string text = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i <= 10; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + before +
            repeated("," + before, 8) + "]\n";
  }
  return text;
}

std::string alias_ladder() {
  std::string text = "a0: &a0 [x]\n";
  for (int i = 1; i <= 100; ++i) {
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [*a" + std::to_string(i - 1) +
            "]\n";
  }
  return text;
}

class HostileYaml : public ::testing::TestWithParam<Hostile> {};

TEST_P(HostileYaml, IsRefusedWithTheReason) {
  // Where exactly the parser is when a limit is reached depends on its version.
  const std::regex column("column \\d+: (nested|more)");
  EXPECT_EQ(std::regex_replace(config_message(GetParam().text), column, "column N: $1"),
            std::string("the configuration has 1 fault:\n  run.yaml") + GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    All, HostileYaml,
    ::testing::Values(
        Hostile{"too_long", std::string((size_t{1} << 20) + 1, '#'),
                ": 1048577 bytes are too many for a configuration, expected at most 1048576"},
        Hostile{"nul", std::string("seed: 1\n\0", 9),
                ":2: expected text, got the control character 0x00"},
        Hostile{"escape", "\n\nseed: \x1b[1m", ":3: expected text, got the control character 0x1b"},
        Hostile{"latin1", "seed: caf\xe9\n", ":1: expected UTF-8 text, got the byte 0xe9"},
        Hostile{"continuation", "\n\x80", ":2: expected UTF-8 text, got the byte 0x80"},
        Hostile{"overlong", "\xc0\xaf", ":1: expected UTF-8 text, got the byte 0xc0"},
        Hostile{"overlong_3", "\xe0\x80\xaf", ":1: expected UTF-8 text, got the byte 0xe0"},
        Hostile{"overlong_4", "\xf0\x80\x80\xaf", ":1: expected UTF-8 text, got the byte 0xf0"},
        Hostile{"surrogate", "\xed\xa0\x80", ":1: expected UTF-8 text, got the byte 0xed"},
        Hostile{"beyond_unicode", "\xf4\x90\x80\x80", ":1: expected UTF-8 text, got the byte 0xf4"},
        Hostile{"cut", "\xe2\x82", ":1: expected UTF-8 text, got the byte 0xe2"},
        Hostile{"utf16", std::string("\xff\xfes\0", 4),
                ":1: expected UTF-8 text, got the byte 0xff"},
        Hostile{"deep_lists", repeated("[", 100'000),
                ":1: not valid YAML at column N: nested deeper than 64 levels"},
        Hostile{"deep_mappings", repeated("{a: ", 100'000),
                ":1: not valid YAML at column N: nested deeper than 64 levels"},
        Hostile{"deep_block", repeated("- ", 100'000),
                ":1: not valid YAML at column N: nested deeper than 64 levels"},
        Hostile{"deep_keys", repeated("? ", 100'000),
                ":1: not valid YAML at column N: nested deeper than 64 levels"},
        Hostile{"wide", "a: [" + repeated("x,", 100'000) + "]",
                ":1: not valid YAML at column N: more than 20000 values, aliases counted as "
                "the copies that they make"},
        Hostile{"alias_bomb", alias_bomb(),
                ":5: not valid YAML at column N: more than 20000 values, aliases counted as the "
                "copies that they make"},
        Hostile{"alias_ladder", alias_ladder(),
                ":63: not valid YAML at column N: nested deeper than 64 levels"},
        Hostile{"alias_in_itself", "a: &a [*a]\n",
                ":1: not valid YAML at column 8: an alias (*name) stands inside the value that it "
                "names"}),
    [](const auto& hostile) { return hostile.param.what; });

TEST(YamlTree, RefusesAnAliasOfNothing) {
  EXPECT_THAT(
      config_message("a: *b\n"),
      ::testing::StartsWith("the configuration has 1 fault:\n  run.yaml:1: not valid YAML at "
                            "column 4: the referenced anchor is not defined"));
}

TEST(YamlTree, TakesNestingUpToTheLimit) {
  YamlNode tree = tree_of(repeated("- ", kMaxYamlDepth) + "x");
  for (size_t depth = 0; depth < kMaxYamlDepth; ++depth) {
    ASSERT_TRUE(tree.is_list());
    YamlNode inner = tree.children.at(0);
    tree = std::move(inner);
  }
  EXPECT_EQ(tree.text, "x");
  EXPECT_EQ(tree_of(repeated("[", 30) + "x" + repeated("]", 30)).children.size(), 1u);
}

TEST(YamlTree, TakesTextInAnyScript) {
  EXPECT_EQ(tree_of("a: \xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x98\x80 \xc3\xa9\r\n  b").find("a")->text,
            "\xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x98\x80 \xc3\xa9 b");
}

}  // namespace
}  // namespace molora
