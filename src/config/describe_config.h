// The annotated list of all fields, for `molora config`.
#pragma once

#include <string>

namespace molora {

// Every field with its meaning, type, default, bounds, values and whether it may change at a
// resume: YAML with comments that holds the defaults and is a valid configuration once the required
// fields are filled in.
std::string describe_config();

}  // namespace molora
