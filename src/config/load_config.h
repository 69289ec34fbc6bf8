// The configuration of a run, from YAML files and --set overrides, checked as a whole.
//
// Everything that is wrong is reported in one ConfigError, one line each: place, field, what was
// expected and what was found, and the nearest valid name. Only a syntax error stops the reading of
// its file. The environment is never read, `~` is not expanded, and relative paths are relative to
// the working directory.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "config/field_rules.h"
#include "run_config.pb.h"

namespace molora {

struct ConfigRequest {
  std::vector<std::filesystem::path> files;  // later ones win; mappings merged, lists replaced
  std::vector<std::string> overrides;        // "train.max_steps=100", laid on top in order
  ConfigUse use = ConfigUse::kTrain;
};

struct LoadedConfig {
  // Complete: every field is set, those that nobody wrote to their default.
  RunConfig config;
  // For the log: what runs but probably does something else than was meant.
  std::vector<std::string> warnings;
};

// Throws: ConfigError, also for files that cannot be read and for paths in the configuration that
// do not exist.
LoadedConfig load_config(const ConfigRequest& request);

// YAML text and what messages call it.
struct ConfigText {
  std::string origin;
  std::string text;
};

// As load_config, from text and without looking at any path. Throws: ConfigError.
LoadedConfig parse_config(const std::vector<ConfigText>& texts,
                          const std::vector<std::string>& overrides, ConfigUse use);

}  // namespace molora
