// The safetensors files of a model folder, and which of them holds which tensor.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "model/stored_tensor.h"

namespace molora {

using StoredTensors = std::map<std::string, StoredTensor>;

// Opens and maps model.safetensors, or the shards of model.safetensors.index.json; the index and
// the shards must name the same tensors. Throws: DataError with the file and the reason; IoError.
StoredTensors open_weight_folder(const std::filesystem::path& folder);

}  // namespace molora
