#include "launcher/supervise/visible_text.h"

#include <gtest/gtest.h>

namespace molora {
namespace {

TEST(VisibleText, LeavesTextTabsAndColoursAsTheyAre) {
  for (const char* text : {"", "plain, with\ttab", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80",
                           "\033[31merror\033[0m", "\033[1;32mok\033[m"}) {
    EXPECT_EQ(visible_text(text), text);
  }
}

TEST(VisibleText, ShowsControlCharacters) {
  EXPECT_EQ(visible_text("a\rb\ab\x7f"), "a\\x0db\\x07b\\x7f");
  EXPECT_EQ(visible_text(std::string("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(visible_text("\xc2\x9b"
                         "2J"),
            "\\xc2\\x9b"
            "2J");  // a control of eight bits
}

TEST(VisibleText, ShowsCommandsToTheTerminalThatAreNotColours) {
  EXPECT_EQ(visible_text("\033[2J"), "\\x1b[2J");
  EXPECT_EQ(visible_text("\033]0;title\a"), "\\x1b]0;title\\x07");
  EXPECT_EQ(visible_text("\033["), "\\x1b[");
  EXPECT_EQ(visible_text("\033[3"), "\\x1b[3");
}

TEST(VisibleText, ShowsBytesThatAreNotUtf8) {
  EXPECT_EQ(visible_text("\xff"
                         "a\xc3"),
            "\\xffa\\xc3");
  EXPECT_EQ(visible_text("\xc0\xaf"), "\\xc0\\xaf");  // longer than needed
  EXPECT_EQ(visible_text("\xe0\x80\x80"), "\\xe0\\x80\\x80");
  EXPECT_EQ(visible_text("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // half of a pair
  EXPECT_EQ(visible_text("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
}

}  // namespace
}  // namespace molora
