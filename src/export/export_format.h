// What a trained adapter can be written as, and which adapters each form can hold exactly.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "run_config.pb.h"

namespace molora {

enum class ExportFormat {
  kPeft,     // PEFT's LoRA folder: plain LoRA only
  kMing,     // MING's folder: experts with a router each on gate, up and down
  kMixlora,  // MixLoRA's and MoE-PEFT's: experts that are whole MLPs, with one router
  kMola,     // MoE-PEFT's: experts with a router each, and nothing else
  kMerged,   // a model folder with the adapter added to the weights: plain LoRA only
};

std::string_view export_format_name(ExportFormat format);
std::optional<ExportFormat> export_format_from_name(std::string_view name);

// Throws: ConfigError when the form cannot hold this adapter: what it lacks, and what would do.
void check_export(const AdapterConfig& adapter, ExportFormat format);

// The adapter with one plain LoRA of this rank in the place of each mixture: what
// export/low_rank_fit.h fills. Outputs are scaled by 1.
AdapterConfig single_lora_config(const AdapterConfig& adapter, uint32_t lora_rank);

}  // namespace molora
