#include "data/trim_text.h"

#include <gtest/gtest.h>

namespace molora {
namespace {

TEST(TrimText, WhiteSpaceOfUnicodeIsRemovedAtBothEnds) {
  EXPECT_EQ(trim_unicode("\xe3\x80\x80\xc2\xa0 \t\n\x1f"
                         "a b\xc2\x85\xe2\x80\xa8\r\n"),
            "a b");
  EXPECT_EQ(trim_unicode(" \n "), "");
  EXPECT_EQ(trim_unicode(""), "");
}

TEST(TrimText, WhatOnlyLooksBlankStays) {
  // U+200B (zero width space), U+FEFF and NUL are not white space to Python.
  for (const std::string_view text : {"\xe2\x80\x8b", "\xef\xbb\xbf"}) {
    EXPECT_EQ(trim_unicode(text), text);
  }
  const std::string_view nul("\0", 1);
  EXPECT_EQ(trim_unicode(nul), nul);
}

TEST(TrimText, TrailingSpacesAreOnlySpaces) {
  EXPECT_EQ(trim_trailing_spaces("  a\n  "), "  a\n");
  EXPECT_EQ(trim_trailing_spaces("  "), "");
}

}  // namespace
}  // namespace molora
