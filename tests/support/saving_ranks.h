// Rank threads that save known tensors through the product's CheckpointSaver, on any file system.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "checkpoint/check_checkpoint.h"
#include "checkpoint/checkpoint_saver.h"
#include "checkpoint/load_checkpoint.h"
#include "checkpoint/step_folder.h"
#include "comm/thread_communicator.h"
#include "support/sliced_state.h"

namespace molora::testing {

inline constexpr char kRunRoot[] = "run/checkpoints";

struct SavingRun {
  FileSystem& files;
  MeshShape shape;
  CheckpointConfig config = [] {
    CheckpointConfig made;
    made.set_every(0);
    made.set_keep_last(1);
    return made;
  }();
  std::function<double()> now = [] { return 0.0; };
  std::function<void()> before_commit = [] {};
  RankThreadOptions threads = {};
};

// One rank of a run between its saves.
class SavingRank {
 public:
  SavingRank(const SavingRun& run, Communicator& world)
      : mesh_(world, run.shape), state_(sliced_state(mesh_)) {
    CheckpointIdentity identity;
    identity.config.set_seed(99);
    identity.base_fingerprint = "base";
    identity.data_fingerprint = "data";
    identity.layout.set_ranks(run.shape.world());
    saver_ = std::make_unique<CheckpointSaver>(
        world, run.files,
        CheckpointSaver::Settings{run.config, kRunRoot, std::move(identity), std::nullopt}, state_,
        CheckpointSaver::Hooks{run.before_commit, [] { return std::vector<RouterLoad>(); },
                               run.now});
  }

  // Trains up to the boundary of this step.
  void at_step(const StepEvents& events) {
    set_step(state_, events.step);
    saver_->at_boundary(events, state_.progress);
  }
  // The same with a save that is waited for.
  void save(int64_t step) { at_step({.step = step, .is_stop_requested = true}); }
  CheckpointSaver& saver() { return *saver_; }

 private:
  Mesh mesh_;
  TrainingState state_;
  std::unique_ptr<CheckpointSaver> saver_;
};

inline void run_saving(const SavingRun& run, const std::function<void(SavingRank&, int)>& body) {
  run_rank_threads(
      run.shape.world(),
      [&](Communicator& world) {
        SavingRank rank(run, world);
        body(rank, world.rank());
      },
      run.threads);
}

// What ranks of any layout find when they start: the newest valid step, loaded. Returns the step
// (-1: there is none), or throws what is wrong with what was loaded.
inline int64_t load_newest(FileSystem& files, const MeshShape& shape) {
  int64_t found_step = -1;
  std::vector<std::string> faults(static_cast<size_t>(shape.world()));
  run_rank_threads(shape.world(), [&](Communicator& world) {
    const Mesh mesh(world, shape);
    const NewestValid found =
        find_newest_valid(world, files, kRunRoot, committed_steps(files, kRunRoot));
    if (!found.step) return;
    TrainingState state = sliced_state(mesh);
    set_step(state, 0);
    load_checkpoint(files, std::filesystem::path(kRunRoot) / step_folder_name(*found.step),
                    LoadScope::kAll, state);
    faults[static_cast<size_t>(world.rank())] = state_fault(state, *found.step);
    if (world.rank() == 0) found_step = *found.step;
  });
  for (size_t rank = 0; rank < faults.size(); ++rank) {
    if (!faults[rank].empty()) {
      throw std::runtime_error(fmt::format("rank {}: {}", rank, faults[rank]));
    }
  }
  return found_step;
}

}  // namespace molora::testing
