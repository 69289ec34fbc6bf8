// A checkpoint's numbers back into a run, whatever layout wrote them and whatever layout reads.
#pragma once

#include <filesystem>

#include "checkpoint/training_state.h"
#include "io/file_system.h"

namespace molora {

// Which slices to fill.
enum class LoadScope {
  kAdapter,  // only the adapter (evaluation, generation, export)
  kAll,
};

// Copies a checkpoint's tensors into the state's slices and, with kAll, its progress. Every tensor
// of the state must be there with the same type and global shape, and every tensor of the
// checkpoint in scope must have a place: CheckpointError with the tensor otherwise, and nothing was
// changed. Each rank reads what it holds. REQUIRES: the files were checked (check_checkpoint.h).
// Throws: CheckpointError, also for what changed since then (file, tensor, byte range).
void load_checkpoint(FileSystem& files, const std::filesystem::path& step_folder, LoadScope scope,
                     TrainingState& state);

}  // namespace molora
