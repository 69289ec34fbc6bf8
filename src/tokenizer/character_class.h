// The classes of characters that added tokens and normalizers ask for. Pure functions.
#pragma once

namespace molora {

// Unicode's White_Space.
bool is_white_space(char32_t c);
// A character of \w as regular expressions over Unicode define it (UTS 18, annex C).
bool is_word_character(char32_t c);

}  // namespace molora
