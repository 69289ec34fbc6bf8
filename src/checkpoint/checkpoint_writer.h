// Writing a checkpoint so that a crash at any instruction leaves the old ones and, perhaps, the new
// one whole.
//
// Order: temporary folder, every file written and synced, manifest last, folder synced, one rename
// to the final name (the commit), parent folder synced.
#pragma once

#include <filesystem>
#include <string>

#include "checkpoint/training_state.h"
#include "comm/communicator.h"

namespace molora {

// What a checkpoint says besides tensors and progress.
struct CheckpointIdentity {
  RunConfig config;
  std::string base_fingerprint;
  std::string data_fingerprint;
};

// Writes <root>/step-N for the N of state.progress. Collective: every rank calls it at the same
// step; the slices of all ranks are put together on rank 0, which does the writing (files do not
// depend on the layout), and all ranks learn how it ended. An existing folder of the same step is
// left as it is when it is valid and replaced otherwise. Blocks until the commit is on the device.
// Returns the committed folder. Throws on every rank: CheckpointError with rank 0's reason; nothing
// was committed then.
std::filesystem::path write_checkpoint(Communicator& communicator,
                                       const std::filesystem::path& root,
                                       const TrainingState& state,
                                       const CheckpointIdentity& identity);

// Removes attempts that a dead process left behind. Rank 0 alone calls it, before anything is
// written.
void remove_stale_attempts(const std::filesystem::path& root);

}  // namespace molora
