#include "config/text_check.h"

#include <algorithm>
#include <cstdint>

#include <fmt/format.h>

namespace molora {

namespace {

// Bytes of the UTF-8 character that `text` begins with; 0 when it begins with none: a stray or
// missing continuation byte, a longer form than needed, a surrogate, or beyond U+10FFFF.
size_t character_bytes(std::string_view text) {
  const auto byte = [&](size_t i) -> uint32_t { return static_cast<unsigned char>(text[i]); };
  const uint32_t first = byte(0);
  if (first < 0x80) return 1;
  const size_t bytes = first < 0xc2   ? 0
                       : first < 0xe0 ? 2
                       : first < 0xf0 ? 3
                       : first < 0xf5 ? 4
                                      : 0;
  if (bytes == 0 || bytes > text.size()) return 0;
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  if (first == 0xe0 && byte(1) < 0xa0) return 0;
  if (first == 0xed && byte(1) >= 0xa0) return 0;
  if (first == 0xf0 && byte(1) < 0x90) return 0;
  if (first == 0xf4 && byte(1) >= 0x90) return 0;
  return bytes;
}

bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && c != '\t' && c != '\n' && c != '\r') || byte == 0x7f;
}

}  // namespace

std::optional<TextFault> find_text_fault(std::string_view text) {
  if (text.size() > kMaxConfigBytes) {
    return TextFault{0,
                     fmt::format("{} bytes are too many for a configuration, expected at most {}",
                                 text.size(), kMaxConfigBytes)};
  }
  const auto line_at = [&](size_t position) {
    const auto end = text.begin() + static_cast<std::ptrdiff_t>(position);
    return 1 + static_cast<int>(std::count(text.begin(), end, '\n'));
  };
  for (size_t position = 0; position < text.size();) {
    const auto byte = static_cast<unsigned char>(text[position]);
    if (is_control(text[position])) {
      return TextFault{line_at(position),
                       fmt::format("expected text, got the control character 0x{:02x}", byte)};
    }
    const size_t bytes = character_bytes(text.substr(position));
    if (bytes == 0) {
      return TextFault{line_at(position),
                       fmt::format("expected UTF-8 text, got the byte 0x{:02x}", byte)};
    }
    position += bytes;
  }
  return std::nullopt;
}

}  // namespace molora
