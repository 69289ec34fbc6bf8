// Finding, checking and loading checkpoints.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "checkpoint/manifest.h"
#include "checkpoint/training_state.h"

namespace molora {

// The manifest of a step folder. Throws: CheckpointError when it is missing, damaged, or of a
// format that this program does not read.
CheckpointManifest read_manifest(const std::filesystem::path& step_folder);

// Empty when the manifest can be read and every file that it names is there with its length and its
// SHA-256; otherwise the first thing that is wrong, with the file. Reads every byte; never throws.
std::string find_damage(const std::filesystem::path& step_folder);

// Which slices to fill.
enum class LoadScope {
  kAdapter,  // only the adapter (evaluation, generation, export)
  kAll,
};

// Copies a checkpoint's tensors into the state's slices and, with kAll, its progress. Every slice
// must be covered by slices of the checkpoint with the same name, type and global shape, and every
// tensor of the checkpoint in scope must have a place: CheckpointError with the tensor otherwise,
// and nothing was changed. REQUIRES: find_damage(step_folder) is empty.
void load_checkpoint(const std::filesystem::path& step_folder, LoadScope scope,
                     TrainingState& state);

}  // namespace molora
