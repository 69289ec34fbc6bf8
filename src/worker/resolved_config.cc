#include "worker/resolved_config.h"

#include <algorithm>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/check.h"
#include "base/error.h"
#include "checkpoint/manifest.h"
#include "checkpoint/step_folder.h"
#include "config/resolved_yaml.h"
#include "worker/exported_model.h"
#include "worker/resume_point.h"
#include "worker/saved_layout.h"
#include "worker/together.h"

namespace molora {

namespace {

std::string serialized(const LoadedConfig& loaded) {
  for (const std::string& warning : loaded.warnings) spdlog::warn("{}", warning);
  return loaded.config.SerializeAsString();
}

RunConfig parsed(const std::string& bytes) {
  RunConfig config;
  MOLORA_CHECK(config.ParseFromString(bytes), "{} bytes of configuration", bytes.size());
  return config;
}

// The configuration that a checkpoint carries, with changes.
RunConfig config_of(const CheckpointManifest& manifest, const std::filesystem::path& step_folder,
                    const std::vector<std::string>& overrides) {
  const ConfigText stored{(step_folder / kManifestName).string() + " (stored configuration)",
                          resolved_yaml(manifest.config())};
  return parse_config({stored}, overrides, ConfigUse::kModel).config;
}

}  // namespace

bool is_config_file(const std::filesystem::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".yaml" || extension == ".yml";
}

RunConfig resolve_config(const ConfigArguments& arguments, ConfigUse use, Communicator& world) {
  return parsed(on_rank_zero(world, [&] {
    return serialized(load_config({arguments.files, arguments.overrides, use}));
  }));
}

ResolvedModel resolve_model(const ModelArguments& arguments, Communicator& world) {
  const bool are_files =
      std::all_of(arguments.paths.begin(), arguments.paths.end(), is_config_file);
  if (are_files) {
    ResolvedModel model;
    model.config = resolve_config({arguments.paths, arguments.overrides}, ConfigUse::kModel, world);
    return model;
  }
  if (arguments.paths.size() != 1) {
    throw ConfigError(fmt::format(
        "expected either configuration files (.yaml) or one run folder, checkpoint or exported "
        "folder, got {} paths of which {} is not a .yaml file",
        arguments.paths.size(),
        std::find_if_not(arguments.paths.begin(), arguments.paths.end(), is_config_file)
            ->string()));
  }
  ResolvedModel model;
  if (is_exported_folder(arguments.paths.front())) {
    together(world, [&] { model = exported_model(arguments.paths.front(), arguments.overrides); });
    if (arguments.use_base) model.adapter_folder.clear();
    return model;
  }
  model.step_folder = valid_step_folder(arguments.paths.front(), world);
  together(world, [&] {
    const CheckpointManifest manifest = read_manifest(local_files(), model.step_folder);
    model.base_fingerprint = manifest.base_fingerprint();
    model.architecture = manifest.architecture();
    model.config = config_of(manifest, model.step_folder, arguments.overrides);
    model.expert_ways = saved_expert_ways(manifest, model.config);
  });
  if (arguments.use_base) model.step_folder.clear();
  return model;
}

}  // namespace molora
