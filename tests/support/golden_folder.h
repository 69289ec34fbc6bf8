// The folders of golden numbers, and reading them.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include "io/file.h"
#include "io/safetensors.h"
#include "tensor/tensor_bytes.h"

namespace molora::testing {

using TensorMap = std::map<std::string, at::Tensor>;

// Where the model folders lie: $MOLORA_GOLDEN_DIR, or the project's own.
inline std::filesystem::path golden_root() {
  const char* set = std::getenv("MOLORA_GOLDEN_DIR");
  return set != nullptr && *set != '\0' ? set : "tests/assets/models";
}

// Whether the folder holds weights (some hold goldens and a tokenizer alone).
inline bool has_weights(const std::filesystem::path& folder) {
  return std::filesystem::exists(folder / "model.safetensors") ||
         std::filesystem::exists(folder / "model.safetensors.index.json");
}

// Model folders with weights that hold a file whose name begins with `prefix`, sorted.
inline std::vector<std::filesystem::path> golden_folders(const std::string& prefix) {
  std::vector<std::filesystem::path> folders;
  for (const auto& entry : std::filesystem::directory_iterator(golden_root())) {
    if (!entry.is_directory() || !has_weights(entry.path())) continue;
    for (const auto& file : std::filesystem::directory_iterator(entry.path())) {
      if (file.path().filename().string().starts_with(prefix)) {
        folders.push_back(entry.path());
        break;
      }
    }
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

// Files of a folder whose names begin with `prefix` and end with `suffix`, sorted.
inline std::vector<std::filesystem::path> golden_files(const std::filesystem::path& folder,
                                                       const std::string& prefix,
                                                       const std::string& suffix) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(prefix) && name.ends_with(suffix)) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

inline nlohmann::json read_json(const std::filesystem::path& path) {
  return nlohmann::json::parse(read_file(path));
}

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

// "tiny-llama_gqa" as a test name.
inline std::string test_name(const std::filesystem::path& folder) {
  std::string name = folder.filename().string();
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}

}  // namespace molora::testing
