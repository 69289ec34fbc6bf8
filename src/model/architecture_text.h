// What a base model computes, as text: for a checkpoint to say what its adapter was trained on.
#pragma once

#include <string>

#include "model/architecture.h"

namespace molora {

// One line "name value" for everything that decides the result of a forward pass besides the
// weights; numbers exactly. Equal texts: the same function of the same weights.
std::string architecture_text(const Architecture& architecture);

// The lines that two such texts do not have in common: "rope_theta: 10000 -> 1000000"; "" of equal
// ones, and when one is empty (a checkpoint from before these texts).
std::string architecture_difference(const std::string& before, const std::string& after);

}  // namespace molora
