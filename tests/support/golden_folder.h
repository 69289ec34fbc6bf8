// Reading golden numbers: tensors of safetensors files.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include <ATen/ATen.h>

#include "io/safetensors.h"
#include "support/golden_paths.h"
#include "tensor/tensor_bytes.h"

namespace molora::testing {

using TensorMap = std::map<std::string, at::Tensor>;

inline TensorMap read_tensors(const std::filesystem::path& path) {
  const auto file = std::make_shared<const SafetensorsFile>(path);
  TensorMap tensors;
  for (const TensorEntry& entry : file->entries()) tensors[entry.name] = mapped_tensor(file, entry);
  return tensors;
}

// The tensors whose names begin with `prefix`, without it.
inline TensorMap with_prefix(const TensorMap& tensors, const std::string& prefix) {
  TensorMap result;
  for (const auto& [name, tensor] : tensors) {
    if (name.starts_with(prefix)) result[name.substr(prefix.size())] = tensor;
  }
  return result;
}

}  // namespace molora::testing
