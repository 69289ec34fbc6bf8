// What a user who wrote the name of a field that does not exist probably meant.
#pragma once

#include <string>
#include <string_view>

#include "config/schema.h"

namespace molora {

// The end of a message about `name`, which is no field of `message` (whose own name is `around`,
// empty for the whole configuration): "; did you mean 'train.learning_rate'?". Looks for the same
// name elsewhere, a name nearly the same here, then elsewhere, and an abbreviation (lr, epochs).
// When nothing is near: the names that exist here.
std::string name_hint(const Descriptor& message, std::string_view around, const std::string& name);

}  // namespace molora
