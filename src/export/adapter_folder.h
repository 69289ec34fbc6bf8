// A folder with an adapter as the Python world keeps it, without the base model: PEFT's for plain
// LoRA, MING's and MoE-PEFT's for mixtures of experts.
//
//   adapter_config.json          r, alpha, targets, base model (PEFT)
//   adapter_model.safetensors    plain LoRA (or adapter_model.bin)
//   non_lora_trainables.bin      experts and routers (MING; or non_lora_trainables.safetensors)
//   config.json                  number of experts, experts per token (MING)
// or, of MoE-PEFT and MixLoRA (export/moe_peft_config.h),
//   adapter_config.json          all of the adapter's configuration
//   adapter_model.bin            all of its tensors
// What is in such a file and would change the result but is not known here is refused with its
// name: an adapter that is computed differently from what its file says is worse than none.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include <ATen/ATen.h>

#include "run_config.pb.h"

namespace molora {

using at::Tensor;

constexpr std::string_view kAdapterConfigName = "adapter_config.json";
constexpr std::string_view kAdapterTensorsName = "adapter_model.safetensors";
constexpr std::string_view kAdapterPickleName = "adapter_model.bin";
constexpr std::string_view kExpertTensorsName = "non_lora_trainables.bin";
constexpr std::string_view kModelConfigName = "config.json";

// Whether there is an adapter_config.json.
bool is_adapter_folder(const std::filesystem::path& folder);

struct AdapterFolderConfig {
  AdapterConfig adapter;
  std::string base_model;  // base_model_name_or_path: a folder, or a name on a hub
};

// What the folder says of its adapter. Throws: DataError with file, field, what was expected and
// what was found; IoError.
AdapterFolderConfig read_adapter_folder_config(const std::filesystem::path& folder);

// All tensors of the folder by their published names (export/published_names.h).
// Throws: DataError when a name is in two of its files or a file cannot be understood; IoError.
std::map<std::string, Tensor> read_adapter_folder_tensors(const std::filesystem::path& folder);

}  // namespace molora
