// Comparing secrets without telling how much of one was right.
#pragma once

#include <string_view>

namespace molora {

// Whether both are the same, in a time that depends on their lengths alone, not on what they say.
bool equal_secrets(std::string_view a, std::string_view b);

}  // namespace molora
