// A YAML tree as the message RunConfig, or another one, by reflection over its schema.
#pragma once

#include <google/protobuf/message.h>

#include "config/faults.h"
#include "config/field_places.h"
#include "config/yaml_tree.h"
#include "run_config.pb.h"

namespace molora {

// The configuration that `tree` spells. Fields that are not written stay unset. Unknown names,
// wrong types and broken bounds go to `faults` and leave their field unset; where each field was
// written goes to `places`.
// REQUIRES: the lists of `tree` are spelled out (shorthand.h).
RunConfig read_run_config(const YamlNode& tree, FieldPlaces& places, Faults& faults);

// The same into any message.
void read_message(const YamlNode& tree, google::protobuf::Message& message, FieldPlaces& places,
                  Faults& faults);

}  // namespace molora
