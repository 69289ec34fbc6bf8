// One file of a checkpoint against what the manifest says of it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint.pb.h"
#include "checkpoint/damage.h"
#include "checkpoint/tensor_index.h"
#include "io/file_system.h"

namespace molora {

// What a file must be.
struct FileExpectation {
  struct Part {
    const SavedTensor* tensor = nullptr;
    SavedSlice slice;
  };

  std::string name;
  uint64_t bytes = 0;
  std::string sha256;
  int64_t step = 0;
  std::vector<Part> parts;  // by their place in the file; in format 1 without a place
};

// In the order of the manifest. Parts refer to the index.
std::vector<FileExpectation> file_expectations(const CheckpointManifest& manifest,
                                               const TensorIndex& index);

// Everything that is wrong with the file, by the bytes where that can be told: by the tensors'
// CRC-32C in format 2. Reads every byte, a few MiB at a time. Does not throw for what is on the
// disk.
std::vector<Damage> check_file(FileSystem& files, const std::filesystem::path& step_folder,
                               const FileExpectation& expected);

}  // namespace molora
