// A model folder with plain LoRA added to its weights: what every program for models reads.
#pragma once

#include <filesystem>
#include <optional>

#include <ATen/ATen.h>

#include "model/adapter.h"

namespace molora {

// Writes the files of `base_folder` anew into `folder`, each adapted weight W as W + s B A, summed
// in fp32 and rounded once; everything else as it is: the other tensors, config.json, tokenizer and
// what else lies beside them. One tensor at a time is in memory.
// type: of all tensors in place of the base's own; config.json is changed with it. A narrow type
// rounds what was added: bf16 keeps 8 bits of the sum.
// REQUIRES: no linear has a router; the adapters are whole on this rank, on the CPU.
// Throws: DataError with file and tensor; IoError.
void write_merged_model(const AdapterSet& adapters, const std::filesystem::path& base_folder,
                        std::optional<at::ScalarType> type, const std::filesystem::path& folder);

}  // namespace molora
