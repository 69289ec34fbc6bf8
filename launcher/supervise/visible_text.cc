#include "launcher/supervise/visible_text.h"

#include <cstdint>

#include <fmt/format.h>

namespace molora {

namespace {

// The bytes of the UTF-8 character at the front, as RFC 3629 has it; 0: there is none.
size_t character_bytes(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  const size_t count = lead < 0x80 ? 1 : lead >> 5U == 6 ? 2 : lead >> 4U == 14 ? 3 : 4;
  if (lead >= 0x80 && (lead < 0xC2 || lead > 0xF4)) return 0;
  if (count > text.size()) return 0;
  uint32_t code = count == 1 ? lead : lead & (0xFFU >> (count + 1));
  for (size_t i = 1; i < count; ++i) {
    if (byte(i) >> 6U != 2) return 0;
    code = code << 6U | (byte(i) & 0x3FU);
  }
  constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool is_surrogate = code >= 0xD800 && code < 0xE000;
  return code < kSmallest[count] || code > 0x10FFFF || is_surrogate ? 0 : count;
}

bool is_control(std::string_view character) {
  const auto first = static_cast<unsigned char>(character[0]);
  if (character.size() == 1) return (first < 0x20 && first != '\t') || first == 0x7F;
  // U+0080 to U+009F: terminals take some of them for commands.
  return character.size() == 2 && first == 0xC2 && static_cast<unsigned char>(character[1]) < 0xA0;
}

// The bytes of a colour at the front, ESC [ 0 ; 31 m; 0: there is none.
size_t colour_bytes(std::string_view text) {
  if (!text.starts_with("\033[")) return 0;
  const size_t end = text.find_first_not_of("0123456789;", 2);
  return end != std::string_view::npos && text[end] == 'm' ? end + 1 : 0;
}

}  // namespace

std::string visible_text(std::string_view line) {
  std::string visible;
  while (!line.empty()) {
    size_t count = colour_bytes(line);
    if (count == 0) count = character_bytes(line);
    const bool is_shown =
        count > 1 && line[0] == '\033' ? true : count > 0 && !is_control(line.substr(0, count));
    if (count == 0) count = 1;
    for (const char c : line.substr(0, count)) {
      if (is_shown) {
        visible += c;
      } else {
        visible += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
      }
    }
    line.remove_prefix(count);
  }
  return visible;
}

}  // namespace molora
