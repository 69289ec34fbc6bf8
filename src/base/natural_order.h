// The order in which people expect names with numbers in them: layers.2 before layers.10.
#pragma once

#include <string_view>

namespace molora {

// Whether `a` comes before `b`: runs of digits compare as numbers, everything else by bytes. A
// strict weak order; names that differ in leading zeros alone compare by bytes.
bool natural_less(std::string_view a, std::string_view b);

}  // namespace molora
