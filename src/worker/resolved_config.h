// The configuration of a command, read by rank 0 and the same on every rank.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "checkpoint.pb.h"
#include "comm/communicator.h"
#include "config/load_config.h"
#include "model/expert_way.h"
#include "worker/commands.h"

namespace molora {

// Whether a path among a command's models names a configuration file, by its ending.
bool is_config_file(const std::filesystem::path& path);

// Rank 0 reads and checks the files, says what it warns of, and hands the result to all: other
// machines need not have the files. Collective. Throws: ConfigError on every rank.
RunConfig resolve_config(const ConfigArguments& arguments, ConfigUse use, Communicator& world);

// A model to use: its configuration, and where its adapter is (both empty: the untrained one).
struct ResolvedModel {
  RunConfig config;
  std::filesystem::path step_folder;     // of a checkpoint
  std::filesystem::path adapter_folder;  // in a published form (export/adapter_folder.h)
  // That the adapter was trained on; empty where nothing says it.
  std::string base_fingerprint;
  std::string architecture;
  // Which way its experts were computed (worker/saved_layout.h).
  std::optional<ExpertWays> expert_ways = std::nullopt;

  // Whichever of the two there is.
  const std::filesystem::path& adapter_path() const {
    return step_folder.empty() ? adapter_folder : step_folder;
  }
};
// Collective. Throws: ConfigError, CheckpointError.
ResolvedModel resolve_model(const ModelArguments& arguments, Communicator& world);

}  // namespace molora
