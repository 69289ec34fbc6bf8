#include "tokenizer/byte_alphabet.h"

#include "tokenizer/utf8.h"

namespace molora {

ByteAlphabet::ByteAlphabet() {
  byte_of_.fill(-1);
  char32_t next_letter = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    const char32_t letter = printable ? static_cast<char32_t>(byte) : next_letter++;
    append_utf8(letter, texts_[static_cast<size_t>(byte)]);
    byte_of_[letter] = static_cast<int16_t>(byte);
  }
}

bool ByteAlphabet::bytes_of(std::string_view text, std::string& bytes) const {
  bytes.clear();
  for (size_t position = 0; position < text.size();) {
    const CodePoint c = code_point_at(text, position);
    if (c.value >= kLetters || byte_of_[c.value] < 0) return false;
    bytes += static_cast<char>(byte_of_[c.value]);
    position += c.bytes;
  }
  return true;
}

}  // namespace molora
