// Names inside a run's checkpoint folder: the only place that builds or reads them.
//
//   <output_dir>/checkpoints/step-00000100/            a committed checkpoint of 100 steps
//     manifest.pb  adapter-00000.safetensors  optimizer-00000.safetensors
//   <output_dir>/checkpoints/step-00000100.tmp-<n>/    an attempt that did not (yet) commit
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace molora {

inline constexpr char kManifestName[] = "manifest.pb";

std::string step_folder_name(int64_t step);
std::string attempt_folder_name(int64_t step, int64_t attempt);
std::string part_file_name(const std::string& kind, int rank);

// The step of a committed folder's name; nothing for other names, attempts included.
std::optional<int64_t> step_of_folder(const std::string& name);
bool is_attempt_folder(const std::string& name);

// Steps that have a committed folder, ascending. A missing root has none.
std::vector<int64_t> committed_steps(const std::filesystem::path& root);

}  // namespace molora
