// Whether the files of a checkpoint are what its manifest says, and if not, what is wrong where.
//
// Nothing here throws for what is on the disk, and nothing is mapped: files are read through the
// FileSystem a few MiB at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint.pb.h"
#include "checkpoint/damage.h"
#include "io/file_system.h"

namespace molora {

struct Verification {
  // Everything that is wrong: with the manifest, with its files, with what they say of tensors.
  std::vector<Damage> damages;
  // What is unusual and harms nothing: files that the manifest does not name.
  std::vector<Damage> notes;
  // What was checked; 0 when the manifest cannot be read.
  int64_t step = 0;
  int64_t num_files = 0;  // without the manifest
  int64_t num_tensors = 0;
  uint64_t bytes = 0;  // of all files that the manifest names

  bool is_whole() const { return damages.empty(); }
};

// Reads every byte of a step folder.
Verification verify_checkpoint(FileSystem& files, const std::filesystem::path& step_folder);

// verify_checkpoint().damages.
std::vector<Damage> find_damages(FileSystem& files, const std::filesystem::path& step_folder);

// For ranks that share the work: checks the files whose index in the manifest modulo num_shares is
// `share`, and share 0 also the manifest's own records. Returns "" or the first damage as text.
std::string check_files(FileSystem& files, const std::filesystem::path& step_folder,
                        const CheckpointManifest& manifest, int share, int num_shares);

}  // namespace molora
