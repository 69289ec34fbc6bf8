// What two configurations do not have in common.
#pragma once

#include <string>
#include <vector>

#include "run_config.pb.h"

namespace molora {

// One line per field whose value differs, in the order of the schema: "train.learning_rate: 0.001
// -> 0.002". A field that is not set has its default; an item of a list that only one of them has
// differs from (none).
std::vector<std::string> config_difference(const RunConfig& a, const RunConfig& b);

}  // namespace molora
