// Where the reference library knows another version of Unicode than PCRE2 or utf8proc do.
//
// Tokenization must agree to the last character, and new versions of Unicode give classes and
// normal forms to characters that had none. Both tables were found by asking the reference library
// (tokenizers 0.23.3: Unicode 16 in its regular expressions, 9 in its normal forms) and the
// libraries used here (PCRE2 10.42: Unicode 14; utf8proc 2.8: 15) about every code point. With
// newer versions of the libraries the tables still hold, they only become needless.
#pragma once

#include <string>
#include <string_view>

namespace molora {

// `text` with each character that PCRE2 may class otherwise than the reference replaced by an older
// one of the right class and the same length in bytes, so that what matches in the result matches
// in `text`. A view of `text` when there is nothing to replace, else of `buffer`.
// REQUIRES: well-formed UTF-8.
std::string_view with_known_classes(std::string_view text, std::string& buffer);

// The same for one character: one of the right class, or `c` itself.
char32_t known_character(char32_t c);

// Whether the reference leaves this character as it is in every normal form, and composes nothing
// across it, although utf8proc knows better.
bool is_left_unnormalized(char32_t c);

}  // namespace molora
