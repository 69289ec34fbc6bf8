#include "report/html_text.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace molora {
namespace {

TEST(HtmlText, NothingIsReadAsMarkup) {
  EXPECT_EQ(html_escaped("<script>alert('a&b')</script>\""),
            "&lt;script&gt;alert(&#39;a&amp;b&#39;)&lt;/script&gt;&quot;");
}

TEST(HtmlText, WhatIsNoTextIsReplaced) {
  const std::string mark = "\xEF\xBF\xBD";
  EXPECT_EQ(html_escaped("a\x01"
                         "b\x7f"),
            "a" + mark + "b" + mark);
  EXPECT_EQ(html_escaped("\xC3\xA9"), "\xC3\xA9");
  EXPECT_EQ(html_escaped("\xC3("), mark + "(");
  EXPECT_EQ(html_escaped("\xC0\xAF"), mark + mark);             // an overlong '/'
  EXPECT_EQ(html_escaped("\xED\xA0\x80"), mark + mark + mark);  // a surrogate
  EXPECT_EQ(html_escaped("\xF0\x9F\x98\x80"), "\xF0\x9F\x98\x80");
  EXPECT_EQ(html_escaped("\xF0\x9F"), mark + mark);
}

TEST(HtmlText, JsonCannotEndItsElement) {
  const nlohmann::json value = {{"name", "</script><!--"}};
  const std::string text = json_in_script(value);
  EXPECT_EQ(text.find('<'), std::string::npos);
  EXPECT_EQ(nlohmann::json::parse(text), value);
}

TEST(HtmlText, ShortenedByCharacters) {
  EXPECT_EQ(shortened("abcdef", 3), "abc...");
  EXPECT_EQ(shortened("abc", 3), "abc");
  EXPECT_EQ(shortened("\xE4\xB8\xAD\xE6\x96\x87!", 2), "\xE4\xB8\xAD\xE6\x96\x87...");
}

}  // namespace
}  // namespace molora
