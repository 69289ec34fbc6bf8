#include "data/trim_text.h"

#include <algorithm>
#include <array>

namespace molora {

namespace {

using namespace std::string_view_literals;

constexpr std::array kSpaces = {" "sv,
                                "\n"sv,
                                "\t"sv,
                                "\r"sv,
                                "\v"sv,
                                "\f"sv,
                                "\x1c"sv,
                                "\x1d"sv,
                                "\x1e"sv,
                                "\x1f"sv,
                                "\xc2\x85"sv,
                                "\xc2\xa0"sv,
                                "\xe1\x9a\x80"sv,
                                "\xe2\x80\x80"sv,
                                "\xe2\x80\x81"sv,
                                "\xe2\x80\x82"sv,
                                "\xe2\x80\x83"sv,
                                "\xe2\x80\x84"sv,
                                "\xe2\x80\x85"sv,
                                "\xe2\x80\x86"sv,
                                "\xe2\x80\x87"sv,
                                "\xe2\x80\x88"sv,
                                "\xe2\x80\x89"sv,
                                "\xe2\x80\x8a"sv,
                                "\xe2\x80\xa8"sv,
                                "\xe2\x80\xa9"sv,
                                "\xe2\x80\xaf"sv,
                                "\xe2\x81\x9f"sv,
                                "\xe3\x80\x80"sv};

}  // namespace

std::string_view trim_unicode(std::string_view text) {
  const auto first = [&] {
    return std::find_if(kSpaces.begin(), kSpaces.end(),
                        [&](std::string_view space) { return text.starts_with(space); });
  };
  const auto last = [&] {
    return std::find_if(kSpaces.begin(), kSpaces.end(),
                        [&](std::string_view space) { return text.ends_with(space); });
  };
  for (auto space = first(); space != kSpaces.end(); space = first()) {
    text.remove_prefix(space->size());
  }
  for (auto space = last(); space != kSpaces.end(); space = last()) {
    text.remove_suffix(space->size());
  }
  return text;
}

std::string_view trim_trailing_spaces(std::string_view text) {
  const size_t last = text.find_last_not_of(' ');
  return text.substr(0, last == std::string_view::npos ? 0 : last + 1);
}

}  // namespace molora
