// Whether a regular expression means the same to PCRE2 and to Oniguruma.
#pragma once

#include <string>
#include <string_view>

namespace molora {

// Empty when both engines read the pattern alike; else the part that they do not, for a message.
// Errs on the side of naming a part: it knows the constructs that are alike, not all that differ.
std::string regex_difference(std::string_view pattern);

}  // namespace molora
