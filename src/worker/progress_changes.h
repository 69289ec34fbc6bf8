// What two runs, or two moments of one, do not have in common of their progress.
#pragma once

#include <string>
#include <vector>

#include "checkpoint.pb.h"

namespace molora {

// One line per number that differs, in the order of the schema: "step: 10 -> 20"; (none) where it
// is not set. Held-out results (eval_before) are left out.
std::vector<std::string> progress_changes(const Progress& a, const Progress& b);

}  // namespace molora
