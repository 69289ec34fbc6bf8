// The letters in which byte-level vocabularies write bytes: one printable character for each of the
// 256, so that tokens which are no UTF-8 can stand in a JSON file.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace molora {

// Bytes that are printable in Latin-1 are written as themselves, the others as U+0100 and on in
// the order of their values (as GPT-2 began it).
class ByteAlphabet {
 public:
  ByteAlphabet();

  // The letter of a byte, in UTF-8.
  std::string_view text_of(unsigned char byte) const { return texts_[byte]; }

  // The bytes that `text` writes, into `bytes`; false when a character of it is no letter of the
  // alphabet (`bytes` is then of no use). REQUIRES: `text` is well-formed UTF-8.
  bool bytes_of(std::string_view text, std::string& bytes) const;

 private:
  static constexpr size_t kLetters = 0x144;  // one more than the last letter's code point
  std::array<std::string, 256> texts_;
  std::array<int16_t, kLetters> byte_of_{};  // by code point; -1: not a letter
};

}  // namespace molora
