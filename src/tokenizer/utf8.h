// UTF-8 one character at a time. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace molora {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

// What stands at one position of a byte string.
struct Utf8Step {
  enum class Kind {
    kCharacter,   // a whole character of `bytes` bytes
    kIllFormed,   // a maximal ill-formed part of `bytes` bytes (Unicode 15, section 3.9)
    kIncomplete,  // the text ends within a character that more bytes could complete
  };
  Kind kind = Kind::kCharacter;
  size_t bytes = 0;
};
// REQUIRES: position < text.size().
Utf8Step utf8_step(std::string_view text, size_t position);

// Every maximal ill-formed part as U+FFFD. A view of `text` when there is none, else of `buffer`.
std::string_view repaired_utf8(std::string_view text, std::string& buffer);

// The functions below take well-formed UTF-8 only.

struct CodePoint {
  char32_t value = 0;
  size_t bytes = 0;
};
// REQUIRES: position < text.size() is the first byte of a character.
inline CodePoint code_point_at(std::string_view text, size_t position) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[position + i]); };
  const auto tail = [&](size_t i) { return static_cast<char32_t>(byte(i) & 0x3F); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {static_cast<char32_t>((lead & 0x1F) << 6) | tail(1), 2};
  if (lead < 0xF0) {
    return {static_cast<char32_t>((lead & 0x0F) << 12) | (tail(1) << 6) | tail(2), 3};
  }
  return {static_cast<char32_t>((lead & 0x07) << 18) | (tail(1) << 12) | (tail(2) << 6) | tail(3),
          4};
}
// The character that ends before `position`. REQUIRES: position > 0.
CodePoint code_point_before(std::string_view text, size_t position);

void append_utf8(char32_t code_point, std::string& out);

}  // namespace molora
