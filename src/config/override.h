// One override of the command line, --set a.b=c, laid on top of what the files say.
#pragma once

#include <cstddef>
#include <string>

#include "config/faults.h"
#include "config/yaml_tree.h"

namespace molora {

// Puts the value of "name=value" into `tree`. The name is dotted, items of lists by index
// (data.train[0].path; the index after the last appends). The value is YAML: 3, true, [a, b],
// {k: v}; a mapping is merged, everything else replaces. What the schema does not know, and values
// that are not YAML, go to `faults` under `source`. REQUIRES: the lists of `tree` are spelled out;
// they are afterwards.
void apply_override(YamlNode& tree, const std::string& text, size_t source, Faults& faults);

}  // namespace molora
