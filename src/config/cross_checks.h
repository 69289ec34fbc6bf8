// The rules between fields: what is impossible together, and what is possible but rarely meant.
#pragma once

#include <string>
#include <vector>

#include "config/faults.h"
#include "config/field_places.h"
#include "run_config.pb.h"

namespace molora {

// Adds a fault for every combination that cannot be run or in which something that was asked for
// has no effect. Fields that are faulty themselves are left out.
void check_between_fields(const RunConfig& config, const FieldPlaces& places, Faults& faults);

// Combinations that run but probably do something else than was meant, one sentence each.
std::vector<std::string> config_warnings(const RunConfig& config, const FieldPlaces& places,
                                         const std::vector<ConfigSource>& sources);

}  // namespace molora
