#include "checkpoint/manifest.h"

#include <fmt/format.h>

#include "base/error.h"
#include "checkpoint/step_folder.h"
#include "io/digest.h"

namespace molora {

namespace {

constexpr uint64_t kMaxManifestBytes = uint64_t{1} << 30;

}  // namespace

CheckpointManifest read_manifest(FileSystem& files, const std::filesystem::path& step_folder) {
  const std::filesystem::path path = step_folder / kManifestName;
  std::string bytes;
  try {
    bytes = read_file(files, path, kMaxManifestBytes);
  } catch (const IoError& error) {
    throw CheckpointError(error.what());
  }
  ManifestFile file;
  CheckpointManifest manifest;
  const bool is_whole = file.ParseFromString(bytes) && file.sha256() == sha256_hex(file.manifest());
  if (!is_whole || !manifest.ParseFromString(file.manifest()) || !manifest.has_format_version()) {
    throw CheckpointError(
        fmt::format("{}: is damaged: its {} bytes are not a manifest with its SHA-256",
                    path.string(), bytes.size()));
  }
  const uint32_t version = manifest.format_version();
  if (version < kOldestReadableFormat || version > kCheckpointFormatVersion) {
    throw CheckpointError(fmt::format(
        "{}: has checkpoint format {}, this program reads formats {} to {}; use the version of "
        "molora that wrote it",
        step_folder.string(), version, kOldestReadableFormat, kCheckpointFormatVersion));
  }
  return manifest;
}

std::string manifest_bytes(const CheckpointManifest& manifest) {
  ManifestFile file;
  file.set_manifest(manifest.SerializeAsString());
  file.set_sha256(sha256_hex(file.manifest()));
  return file.SerializeAsString();
}

}  // namespace molora
