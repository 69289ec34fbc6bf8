// What two configurations do not have in common.
#pragma once

#include <string>
#include <vector>

#include "run_config.pb.h"

namespace molora {

// A field and its value as YAML text.
struct ConfigValue {
  std::string name;  // "data.train[0].path"
  std::string text;
};

// Every field, in the order of the schema; one that is not set has its default.
std::vector<ConfigValue> config_values(const RunConfig& config);

// A field whose value differs.
struct ConfigChange {
  std::string name;    // "data.train[0].path"
  std::string before;  // as YAML text; "(none)": an item of a list that only the other one has
  std::string after;
  bool is_free_at_resume = false;  // by the schema (proto/run_config.proto, FieldRule)
};

// In the order of the schema, items that only `b` has last. A field that is not set has its
// default, so that a configuration stored before a field existed does not differ in it.
std::vector<ConfigChange> config_changes(const RunConfig& a, const RunConfig& b);

// "train.learning_rate: 0.001 -> 0.002".
std::string change_text(const ConfigChange& change);

// config_changes() as texts.
std::vector<std::string> config_difference(const RunConfig& a, const RunConfig& b);

}  // namespace molora
