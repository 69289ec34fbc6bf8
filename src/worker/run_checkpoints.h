// Saving, choosing and loading the checkpoints of one run: policy (coord) and files (checkpoint)
// joined to the objects of this process.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "checkpoint/checkpoint_writer.h"
#include "comm/communicator.h"
#include "coord/checkpoint_policy.h"
#include "model/adapter.h"
#include "train/adamw.h"

namespace molora {

// The step folder to go on from for this value of checkpoint.resume, decided by rank 0 and equal
// everywhere; empty to start afresh. `auto`: the newest valid one of the run, with a warning for
// each damaged one passed over. A path: that checkpoint, or the newest valid one of that run.
// Collective.
// Throws: ConfigError when `none`, or a path to anything but the newest checkpoint of the run,
// would write into a folder that holds checkpoints; CheckpointError
// when a path holds none or a damaged one, or when `auto` finds only damaged ones.
std::filesystem::path checkpoint_to_resume(const std::string& resume,
                                           const std::filesystem::path& root, Communicator& world);

// The newest valid step folder of a run folder, or the step folder itself, whole and checked.
// Throws: CheckpointError naming what is damaged or missing.
std::filesystem::path valid_step_folder(const std::filesystem::path& path);

class RunCheckpoints {
 public:
  struct Parts {
    AdapterSet& adapters;
    AdamW& optimizer;
    Communicator& world;
  };
  // Parts are referred to. Removes what a dead process left behind in `root` (rank 0).
  RunCheckpoints(const Parts& parts, const CheckpointConfig& config,
                 const std::filesystem::path& root, CheckpointIdentity identity);

  // Loads adapters, moments and progress. Warns of every field of the configuration that changed
  // since. Collective.
  // Throws: ConfigError when the base model is another one (both fingerprints), CheckpointError
  // when a tensor does not fit; nothing was changed then.
  void resume(const std::filesystem::path& step_folder, Progress& progress);

  // Saves when the policy says so, then removes what it no longer keeps; returns the reason for
  // which it saved, "" when it did not. `before_commit`: called on rank 0 first. Collective.
  std::string save_if_due(const StepEvents& events, const Progress& progress,
                          const std::function<void()>& before_commit);

  // Where the last save went; empty when there was none.
  const std::filesystem::path& last_saved() const { return last_saved_; }

 private:
  void prune(const Progress& progress);

  Parts parts_;
  CheckpointConfig config_;
  std::filesystem::path root_;
  CheckpointIdentity identity_;
  std::optional<int64_t> resumed_step_;
  std::filesystem::path last_saved_;
};

}  // namespace molora
