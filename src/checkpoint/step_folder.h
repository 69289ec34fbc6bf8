// Names inside a run's checkpoint folder: the only place that builds or reads them.
//
//   <output_dir>/checkpoints/latest                    "step-00000100": a hint for people
//   <output_dir>/checkpoints/step-00000100/            a committed checkpoint of 100 steps
//     manifest.pb                     what follows, with digests; written last
//     adapter-00000.safetensors       slices of adapters that rank 0 wrote, and so on by rank
//     optimizer-00000.safetensors     slices of the moments
//   <output_dir>/checkpoints/step-00000100.tmp-<attempt>/   did not (yet) commit, or is being
//   removed <output_dir>/checkpoints/step-00000100.damaged[-n]/     put aside when a run passed
//   over it
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "io/file_system.h"

namespace molora {

inline constexpr char kManifestName[] = "manifest.pb";
inline constexpr char kLatestName[] = "latest";

std::string step_folder_name(int64_t step);
std::string attempt_folder_name(int64_t step, const std::string& attempt);
std::string part_file_name(const std::string& kind, int rank);

// The step of a committed folder's name; nothing for other names, attempts included.
std::optional<int64_t> step_of_folder(const std::string& name);
bool is_attempt_folder(const std::string& name);
bool is_damaged_folder(const std::string& name);  // as put_aside() names it

// Steps that have a committed folder, ascending. A missing root has none.
std::vector<int64_t> committed_steps(FileSystem& files, const std::filesystem::path& root);

// Removes attempts that a dead process left behind; returns their names. The coordinator alone
// calls it, before anything is written.
std::vector<std::string> remove_stale_attempts(FileSystem& files,
                                               const std::filesystem::path& root);

// Renames a damaged step folder so that nothing takes it for a checkpoint any more; nothing of it
// is lost. Returns the new name.
std::string put_aside(FileSystem& files, const std::filesystem::path& root, int64_t step);

// Removes a checkpoint. A crash in between leaves it whole or leaves an attempt, never half of it
// under its name.
void remove_step(FileSystem& files, const std::filesystem::path& root, int64_t step);

}  // namespace molora
