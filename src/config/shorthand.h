// The short ways to write lists, spelled out.
#pragma once

#include "config/schema.h"
#include "config/yaml_tree.h"

namespace molora {

// Where the schema of `message` has a list, a single value becomes a list of one; where an item of
// the list is a message, a plain text becomes a mapping with that text as the message's required
// field: `train: a.jsonl` becomes `train: [{path: a.jsonl}]`. The rest of the tree stays as it is,
// whether it fits the schema or not.
void spell_out(YamlNode& tree, const Descriptor& message);

}  // namespace molora
