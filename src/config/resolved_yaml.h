// A configuration as the YAML that reads back to it.
#pragma once

#include <string>

#include "run_config.pb.h"

namespace molora {

// The complete configuration, defaults included, in the order of the schema. load_config reads it
// back to an equal message; numbers are the shortest text that is exact.
std::string resolved_yaml(const RunConfig& config);

// Any message of a schema in the same form, what is not set in it left out.
std::string message_yaml(const google::protobuf::Message& message);

}  // namespace molora
