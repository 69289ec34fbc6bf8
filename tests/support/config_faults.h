// What parse_config says of a text: the message of its ConfigError, or nothing.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "config/load_config.h"

namespace molora::testing {

// The whole message; empty when the configuration is in order.
inline std::string config_message(const std::string& yaml,
                                  const std::vector<std::string>& overrides = {},
                                  ConfigUse use = ConfigUse::kTrain) {
  try {
    parse_config({{"run.yaml", yaml}}, overrides, use);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return {};
}

// The faults of a text that says everything required besides: their lines without the heading.
inline std::string config_faults(const std::string& yaml, std::vector<std::string> overrides = {}) {
  overrides.insert(overrides.begin(), {"model.path=m", "data.train=t.jsonl"});
  const std::string message = config_message(yaml, overrides);
  const size_t heading = message.find(":\n  ");
  return heading == std::string::npos ? message : message.substr(heading + 4);
}

// A configuration from text that is in order.
inline RunConfig config_from(const std::string& yaml, std::vector<std::string> overrides = {}) {
  overrides.insert(overrides.begin(), {"model.path=m", "data.train=t.jsonl"});
  return parse_config({{"run.yaml", yaml}}, overrides, ConfigUse::kTrain).config;
}

}  // namespace molora::testing
