// Where golden files lie, and reading those that are JSON. Needs no LibTorch.
#pragma once

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "io/file.h"

namespace molora::testing {

// Where the model folders lie: $MOLORA_GOLDEN_DIR, or the project's own.
inline std::filesystem::path golden_root() {
  const char* set = std::getenv("MOLORA_GOLDEN_DIR");
  return set != nullptr && *set != '\0' ? set : "tests/assets/models";
}

// Where the tokenizer folders lie: $MOLORA_TOKENIZER_GOLDEN_DIR, or the project's own.
inline std::filesystem::path tokenizer_golden_root() {
  const char* set = std::getenv("MOLORA_TOKENIZER_GOLDEN_DIR");
  return set != nullptr && *set != '\0' ? set : "tests/assets/tokenizers";
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

// "tiny-llama_gqa" as a test name.
inline std::string test_name(const std::filesystem::path& folder) {
  std::string name = folder.filename().string();
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}

}  // namespace molora::testing
