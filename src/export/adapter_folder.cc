#include "export/adapter_folder.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "export/config_fields.h"
#include "export/moe_peft_config.h"
#include "export/torch_archive.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "io/strict_json.h"
#include "tensor/tensor_bytes.h"

namespace molora {

namespace {

using nlohmann::json;

constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;
// Both forms of what holds a part of the tensors: the newer one, and the pickle.
constexpr std::array<std::string_view, 2> kLoraFiles = {kAdapterTensorsName, kAdapterPickleName};
constexpr std::array<std::string_view, 2> kExpertFiles = {"non_lora_trainables.safetensors",
                                                          kExpertTensorsName};

// Keys of PEFT's adapter_config.json that decide nothing about a trained adapter's results.
constexpr std::array<std::string_view, 17> kWithoutEffect = {
    "arrow_config",    "auto_mapping",      "corda_config", "ensure_weight_tying", "eva_config",
    "inference_mode",  "init_lora_weights", "loftq_config", "lora_dropout",        "lora_ga_config",
    "megatron_config", "megatron_core",     "peft_version", "qalora_group_size",   "revision",
    "runtime_config",  "task_type"};
// Keys that are read.
constexpr std::array<std::string_view, 8> kRead = {
    "base_model_name_or_path", "bias",     "lora_alpha", "peft_type", "r",
    "target_modules",          "use_dora", "use_rslora"};

json read_json(const std::filesystem::path& path) {
  return parse_json_object(read_file(path, kMaxConfigBytes), path.string());
}

void set_lora_targets(const ConfigFields& fields, TargetsConfig& targets) {
  const json& names = fields.object().value("target_modules", json());
  if (!names.is_array() || names.empty()) {
    fields.fail("target_modules", "a list of names of linears");
  }
  for (const json& name : names) {
    if (!name.is_string()) fields.fail("target_modules", "a list of names of linears");
    set_target_module(fields, name.get<std::string>(), TargetsConfig::lora, targets);
  }
}

void check_peft_fields(const ConfigFields& fields) {
  if (fields.text("peft_type", "") != "LORA") {
    fields.fail("peft_type", "\"LORA\", \"MIXLORA\" or \"MOLA\"");
  }
  if (fields.text("bias", "none") != "none") fields.fail("bias", "\"none\"");
  refuse_unknown(fields, kRead, kWithoutEffect);
}

// What MING adds to the base model's config.json.
void set_ming_experts(const std::filesystem::path& path, AdapterConfig& adapter) {
  const json object = read_json(path);
  const ConfigFields fields(object, path.string());
  adapter.set_num_experts(fields.count("num_experts"));
  adapter.set_experts_per_token(fields.count("num_experts_per_token"));
  const std::string selection = fields.text("expert_selection", "topk");
  if (selection == "sampling") {
    adapter.mutable_router()->set_selection(RouterConfig::sampled);
  } else if (selection != "topk" && selection != "top_k") {
    fields.fail("expert_selection", "\"topk\" or \"sampling\"");
  }
  if (fields.flag("share_expert", false)) fields.fail("share_expert", "false");
  if (fields.flag("output_logit_bias", false)) fields.fail("output_logit_bias", "false");
  adapter.mutable_router()->set_gate(RouterConfig::topk_softmax);
  TargetsConfig& targets = *adapter.mutable_targets();
  // MING's code replaces every linear of an MLP.
  targets.set_gate_proj(TargetsConfig::experts);
  targets.set_up_proj(TargetsConfig::experts);
  targets.set_down_proj(TargetsConfig::experts);
}

// The first of these files that is there.
template <size_t N>
std::optional<std::filesystem::path> find_file(const std::filesystem::path& folder,
                                               const std::array<std::string_view, N>& names) {
  for (const std::string_view name : names) {
    if (std::filesystem::exists(folder / name)) return folder / name;
  }
  return std::nullopt;
}

std::map<std::string, Tensor> read_tensors(const std::filesystem::path& path) {
  if (path.extension() == ".bin") return read_torch_archive(path);
  const auto file = std::make_shared<const SafetensorsFile>(path);
  std::map<std::string, Tensor> tensors;
  for (const TensorEntry& entry : file->entries()) {
    tensors.emplace(entry.name, mapped_tensor(file, entry));
  }
  return tensors;
}

}  // namespace

bool is_adapter_folder(const std::filesystem::path& folder) {
  return std::filesystem::exists(folder / kAdapterConfigName);
}

AdapterFolderConfig read_adapter_folder_config(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / kAdapterConfigName;
  const json object = read_json(path);
  const ConfigFields fields(object, path.string());
  AdapterFolderConfig result;
  result.base_model = fields.text("base_model_name_or_path", "");
  if (is_moe_peft_config(fields)) {
    result.adapter = read_moe_peft_config(fields);
    return result;
  }
  check_peft_fields(fields);
  AdapterConfig& adapter = result.adapter;
  adapter.set_lora_rank(fields.count("r"));
  adapter.set_lora_alpha(fields.positive("lora_alpha"));
  adapter.set_rslora(fields.flag("use_rslora", false));
  adapter.set_dora(fields.flag("use_dora", false));
  TargetsConfig& targets = *adapter.mutable_targets();
  set_all_targets(TargetsConfig::frozen, targets);
  set_lora_targets(fields, targets);
  if (find_file(folder, kExpertFiles)) set_ming_experts(folder / kModelConfigName, adapter);
  return result;
}

std::map<std::string, Tensor> read_adapter_folder_tensors(const std::filesystem::path& folder) {
  const auto lora = find_file(folder, kLoraFiles);
  const auto experts = find_file(folder, kExpertFiles);
  if (!lora && !experts) {
    throw DataError(fmt::format("{}: expected {}, there is none", folder.string(),
                                (folder / kAdapterTensorsName).string()));
  }
  std::map<std::string, Tensor> tensors;
  if (lora) tensors = read_tensors(*lora);
  if (!experts) return tensors;
  for (auto& [name, tensor] : read_tensors(*experts)) {
    if (!tensors.emplace(name, tensor).second) {
      throw DataError(
          fmt::format("{}: tensor {} is in {} as well", experts->string(), name, lora->string()));
    }
  }
  return tensors;
}

}  // namespace molora
