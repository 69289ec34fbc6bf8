// Writing an adapter as the Python world keeps it (export/adapter_folder.h has the files).
#pragma once

#include <filesystem>
#include <string>

#include <ATen/ATen.h>

#include "export/published_names.h"
#include "model/adapter.h"
#include "run_config.pb.h"

namespace molora {

struct AdapterToWrite {
  const AdapterSet& adapters;  // whole on this rank, on the CPU
  const AdapterConfig& config;
  std::string base_model;  // what the folder names as its base
  at::ScalarType type = at::kFloat;
};

// adapter_config.json and adapter_model.safetensors, for PEFT. REQUIRES: no linear has a router.
// Throws: IoError.
void write_peft_adapter(const AdapterToWrite& adapter, const std::filesystem::path& folder);

// The same for the plain LoRA of the attention, with experts and routers in
// non_lora_trainables.bin, and the base's config.json with the fields that MING's code reads.
// REQUIRES: check_export() lets it be. Throws: DataError when the base's config.json is no object;
// IoError.
void write_ming_adapter(const AdapterToWrite& adapter, const std::filesystem::path& base_folder,
                        const std::filesystem::path& folder);

// adapter_config.json and adapter_model.bin, for MoE-PEFT and, of kMixlora, for MixLoRA.
// REQUIRES: check_export() lets it be. Throws: IoError.
void write_moe_peft_adapter(const AdapterToWrite& adapter, PublishedForm form,
                            const std::filesystem::path& folder);

// Throws: ConfigError naming a linear whose B is zero in all experts: its adapter does nothing, so
// that something else than a trained result is about to be written.
void check_trained(const AdapterSet& adapters);

}  // namespace molora
