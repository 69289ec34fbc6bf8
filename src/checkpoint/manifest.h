// manifest.pb: what a checkpoint says about itself (proto/checkpoint.proto).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "checkpoint.pb.h"
#include "io/file_system.h"

namespace molora {

// The format that is written. Format 1 (whole tensors in two files, no CRC-32C) is read as well.
inline constexpr uint32_t kCheckpointFormatVersion = 2;
inline constexpr uint32_t kOldestReadableFormat = 1;

// The manifest of a step folder. Throws: CheckpointError when it is missing, damaged, or of a
// format that this program does not read.
CheckpointManifest read_manifest(FileSystem& files, const std::filesystem::path& step_folder);

// The content of manifest.pb: the manifest and its own digest.
std::string manifest_bytes(const CheckpointManifest& manifest);

}  // namespace molora
