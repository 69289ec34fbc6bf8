#include "tokenizer/utf8.h"

#include <cstring>

#include <utf8proc.h>

namespace molora {

namespace {

// The bytes that may follow a lead byte: how many, and the range of the first of them (later ones
// are always 80..BF). Unicode 15, table 3-7.
struct Follow {
  size_t count;
  unsigned char low;
  unsigned char high;
};

Follow follow_of(unsigned char lead) {
  if (lead >= 0xC2 && lead <= 0xDF) return {1, 0x80, 0xBF};
  if (lead == 0xE0) return {2, 0xA0, 0xBF};
  if (lead == 0xED) return {2, 0x80, 0x9F};
  if (lead >= 0xE1 && lead <= 0xEF) return {2, 0x80, 0xBF};
  if (lead == 0xF0) return {3, 0x90, 0xBF};
  if (lead >= 0xF1 && lead <= 0xF3) return {3, 0x80, 0xBF};
  if (lead == 0xF4) return {3, 0x80, 0x8F};
  return {0, 0, 0};
}

// The length of the ASCII that `text` has from `position` on, in steps of 8 bytes.
size_t ascii_run(std::string_view text, size_t position) {
  size_t end = position;
  while (end + 8 <= text.size()) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + end, 8);
    if ((word & 0x8080808080808080u) != 0) break;
    end += 8;
  }
  return end - position;
}

// Where the first ill-formed part begins; text.size() when there is none.
size_t well_formed_length(std::string_view text) {
  size_t position = 0;
  while (position < text.size()) {
    position += ascii_run(text, position);
    if (position == text.size()) break;
    const Utf8Step step = utf8_step(text, position);
    if (step.kind != Utf8Step::Kind::kCharacter) return position;
    position += step.bytes;
  }
  return position;
}

}  // namespace

Utf8Step utf8_step(std::string_view text, size_t position) {
  const auto lead = static_cast<unsigned char>(text[position]);
  if (lead < 0x80) return {Utf8Step::Kind::kCharacter, 1};
  const Follow follow = follow_of(lead);
  if (follow.count == 0) return {Utf8Step::Kind::kIllFormed, 1};
  for (size_t i = 1; i <= follow.count; ++i) {
    if (position + i == text.size()) return {Utf8Step::Kind::kIncomplete, i};
    const auto byte = static_cast<unsigned char>(text[position + i]);
    const unsigned char low = i == 1 ? follow.low : 0x80;
    const unsigned char high = i == 1 ? follow.high : 0xBF;
    if (byte < low || byte > high) return {Utf8Step::Kind::kIllFormed, i};
  }
  return {Utf8Step::Kind::kCharacter, follow.count + 1};
}

std::string_view repaired_utf8(std::string_view text, std::string& buffer) {
  size_t position = well_formed_length(text);
  if (position == text.size()) return text;
  buffer.assign(text.substr(0, position));
  while (position < text.size()) {
    const Utf8Step step = utf8_step(text, position);
    buffer += step.kind == Utf8Step::Kind::kCharacter ? text.substr(position, step.bytes)
                                                      : kReplacementCharacter;
    position += step.bytes;
  }
  return buffer;
}

CodePoint code_point_before(std::string_view text, size_t position) {
  size_t begin = position - 1;
  while ((static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return code_point_at(text, begin);
}

void append_utf8(char32_t code_point, std::string& out) {
  utf8proc_uint8_t bytes[4];
  const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code_point), bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(length));
}

}  // namespace molora
