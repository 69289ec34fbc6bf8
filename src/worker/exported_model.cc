#include "worker/exported_model.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "config/load_config.h"
#include "config/resolved_yaml.h"
#include "export/adapter_folder.h"
#include "model/adapter_placement.h"
#include "model/linear_kind.h"

namespace molora {

namespace {

// What decides the adapter's results, and nothing of how it is trained or computed. A mixture of
// one expert is a plain LoRA.
std::string meaning_text(const AdapterConfig& adapter) {
  std::vector<std::string> linears;
  for (const LinearKind kind : kLinearKinds) {
    const AdapterSpec spec = adapter_spec(adapter, kind, 0);
    if (spec.kind == TargetsConfig::frozen) continue;
    linears.push_back(
        fmt::format("{} of rank {} times {}", linear_name(kind), spec.lora_rank, spec.scale));
    if (spec.is_dora) linears.back() += " with magnitudes";
    if (!spec.is_mixture()) continue;
    linears.back() += fmt::format(" in {} of {} experts by {}", spec.experts_per_token,
                                  spec.num_experts, RouterConfig::Gate_Name(spec.gate));
    if (spec.gate == RouterConfig::top_p) linears.back() += fmt::format(" {}", spec.top_p_mass);
    if (spec.selection == RouterConfig::sampled) linears.back() += ", drawn";
    if (spec.is_of_block()) linears.back() += ", each a whole MLP";
  }
  return fmt::format("{}", fmt::join(linears, ", "));
}

void check_agreement(const RunConfig& recorded, const AdapterConfig& in_files,
                     const std::filesystem::path& folder) {
  const std::string expected = meaning_text(recorded.adapter());
  const std::string found = meaning_text(in_files);
  if (expected == found) return;
  throw DataError(fmt::format("{}: expected from {}: {}; got from {}: {}", folder.string(),
                              kExportRecordName, expected, kAdapterConfigName, found));
}

RunConfig config_with(const RunConfig& config, const std::string& origin,
                      const std::vector<std::string>& overrides) {
  return parse_config({{origin, resolved_yaml(config)}}, overrides, ConfigUse::kModel).config;
}

ResolvedModel own_export(const std::filesystem::path& folder,
                         const std::vector<std::string>& overrides) {
  const ExportRecord record = read_export_record(folder);
  const std::string origin = (folder / kExportRecordName).string() + " (run_config)";
  ResolvedModel model;
  model.config = parse_config({{origin, record.run_config}}, {}, ConfigUse::kModel).config;
  if (record.format == ExportFormat::kMerged) {
    // The adapter is in the weights; beside them is an untrained one, which does nothing.
    model.config.mutable_model()->set_path(folder.string());
    model.config.mutable_model()->clear_tokenizer();
  } else {
    check_agreement(model.config, read_adapter_folder_config(folder).adapter, folder);
    model.adapter_folder = folder;
    model.base_fingerprint = record.base_fingerprint;
    model.architecture = record.architecture;
  }
  model.config = config_with(model.config, origin, overrides);
  return model;
}

ResolvedModel foreign_adapter(const std::filesystem::path& folder,
                              const std::vector<std::string>& overrides) {
  const AdapterFolderConfig found = read_adapter_folder_config(folder);
  RunConfig config;
  *config.mutable_adapter() = found.adapter;
  config.mutable_model()->set_path(found.base_model);
  const std::string origin = (folder / kAdapterConfigName).string();
  const ModelConfig base = config_with(config, origin, overrides).model();
  if (!std::filesystem::is_directory(base.path())) {
    throw ConfigError(fmt::format(
        "{}: its base model is {}, which is no folder here; name the folder of that model with "
        "--set model.path=FOLDER",
        origin, base.path()));
  }
  // Nobody has chosen a length: what the model can do of the default.
  const Architecture architecture = read_architecture(
      base.path(), {base.ignore_config_fields().begin(), base.ignore_config_fields().end()});
  DataConfig& data = *config.mutable_data();
  data.set_max_length(
      static_cast<uint32_t>(std::min<int64_t>(data.max_length(), architecture.max_position)));
  ResolvedModel model;
  model.config = config_with(config, origin, overrides);
  model.adapter_folder = folder;
  return model;
}

}  // namespace

bool is_exported_folder(const std::filesystem::path& folder) {
  return has_export_record(folder) || is_adapter_folder(folder);
}

ResolvedModel exported_model(const std::filesystem::path& folder,
                             const std::vector<std::string>& overrides) {
  return has_export_record(folder) ? own_export(folder, overrides)
                                   : foreign_adapter(folder, overrides);
}

}  // namespace molora
