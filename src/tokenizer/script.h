// Which script a text is written in, by Unicode's property of the same name: as much as a text
// alone tells of its language. Chinese and English differ in it, French and English do not.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace molora {

// Adds texts up and names the script of most of them. A character of Han, kana or Hangul counts as
// three letters, about as much as it says: the name of a drug in Latin letters does not make a
// Chinese sentence Latin.
class ScriptCounter {
 public:
  // Bytes that are not UTF-8 count for nothing.
  void add(std::string_view text);

  // "han", "kana" (kana and Han, as Japanese is written), "hangul", "latin", "cyrillic", "arabic",
  // "devanagari", "thai", "greek", "hebrew"; "other": letters of none of these, or no letter.
  std::string_view most() const;

 private:
  static constexpr size_t kNumScripts = 11;
  std::array<int64_t, kNumScripts> letters_ = {};
};

}  // namespace molora
