// A model folder with plain LoRA added to its weights: what every program for models reads.
#pragma once

#include <filesystem>
#include <optional>

#include <ATen/ATen.h>

#include "model/adapter.h"

namespace molora {

struct MergeOptions {
  // Of all tensors in place of the base's own; config.json is changed with it. A narrow type rounds
  // what was added: bf16 keeps 8 bits of the sum.
  std::optional<at::ScalarType> type;
  int64_t task = -1;  // of adapters that route by task (AdapterSet::task_number)
};

// Writes the files of `base_folder` anew into `folder`, each adapted weight as fixed_weight() has
// it (export/fixed_weight.h), summed in fp32 and rounded once; everything else as it is: the other
// tensors, config.json, tokenizer and what else lies beside them. One tensor at a time is in
// memory. REQUIRES: each linear has_fixed_weight(); the adapters are whole on this rank, on the
// CPU. Throws: DataError with file and tensor; IoError.
void write_merged_model(const AdapterSet& adapters, const std::filesystem::path& base_folder,
                        const MergeOptions& options, const std::filesystem::path& folder);

}  // namespace molora
