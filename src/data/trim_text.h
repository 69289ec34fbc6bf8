// Blanks at the ends of a text, as Python's str.strip() sees them: chat templates are defined by
// it.
#pragma once

#include <string_view>

namespace molora {

// `text` without white space at both ends: all that str.isspace() calls so, Unicode's included.
std::string_view trim_unicode(std::string_view text);

// `text` without spaces (only U+0020) at its end.
std::string_view trim_trailing_spaces(std::string_view text);

}  // namespace molora
