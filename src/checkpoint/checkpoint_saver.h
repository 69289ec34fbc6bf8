// Saving a run's checkpoints while it trains: the ranks' side of the coordinator's protocol.
//
// At a step boundary at which something may have to be done, every rank reports to rank 0, whose
// Coordinator decides, and all obey the same orders (coord/coordinator.h,
// proto/coordination.proto). Training waits for the copy of this rank's part to host memory and for
// these messages; a thread of each rank writes its part, and rank 0's thread makes it a checkpoint:
//
//   every rank   step-N.tmp-<attempt>/adapter-R.safetensors, optimizer-R.safetensors, synced
//   rank 0       manifest, folder synced, renamed to step-N (the commit), parent synced; then the
//                hint `latest` and the removal of what the retention does not keep
//
// A failure anywhere drops the attempt on all ranks: it is logged, earlier checkpoints are
// untouched, and training goes on. Only a checkpoint with which the run was to end (its last step,
// a request to stop) makes its failure the run's.
// Collectives, on a communicator of their own, never in a thread: one all-gather at the beginning;
// at a boundary with something to do an all-gather of reports and a broadcast of orders.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/background_thread.h"
#include "checkpoint/host_snapshot.h"
#include "checkpoint/save_plan.h"
#include "comm/communicator.h"
#include "coord/coordinator.h"
#include "io/file_system.h"

namespace molora {

// What a checkpoint says besides tensors and progress.
struct CheckpointIdentity {
  RunConfig config;
  std::string base_fingerprint;
  std::string data_fingerprint;
  LayoutRecord layout;
  std::string architecture;  // of the base: model/architecture_text.h
};

class CheckpointSaver {
 public:
  struct Settings {
    CheckpointConfig config;
    std::filesystem::path root;  // <output_dir>/checkpoints
    CheckpointIdentity identity;
    std::optional<int64_t> resumed_step;  // of this root, that the run goes on from
  };
  struct Hooks {
    // On rank 0, in its writing thread, before each commit: brings to the device what must not be
    // behind the checkpoint. May throw: the attempt is dropped then.
    std::function<void()> before_commit = [] {};
    // On rank 0, at the boundary of a save: what the routers did in the last step.
    std::function<std::vector<RouterLoad>()> router_loads = [] {
      return std::vector<RouterLoad>();
    };
    // Seconds that do not jump; called from the writing thread too.
    std::function<double()> now;
  };

  // `state`: its tensors are read at each save, its progress is not used. `files` must outlive this
  // object. Removes what dead processes left behind in the root (rank 0). Collective.
  CheckpointSaver(Communicator& world, FileSystem& files, Settings settings,
                  const TrainingState& state, Hooks hooks);
  // Gives up what is in flight, and waits for the thread.
  ~CheckpointSaver();
  CheckpointSaver(const CheckpointSaver&) = delete;
  CheckpointSaver& operator=(const CheckpointSaver&) = delete;
  CheckpointSaver(CheckpointSaver&&) = delete;
  CheckpointSaver& operator=(CheckpointSaver&&) = delete;

  // Begins, follows and ends saves. Returns when training may go on; after a request to stop and at
  // the end of the run that is when the checkpoint of this step is committed. Collective.
  // Throws on every rank: CheckpointError when a checkpoint that ends the run was not written.
  void at_boundary(const StepEvents& events, const Progress& progress);

  // Of this rank's copy of what it writes: all the memory that a save needs.
  uint64_t copied_bytes() const { return snapshot_.bytes(); }
  // Where the last committed save went, on every rank; empty when there was none.
  const std::filesystem::path& last_saved() const { return last_saved_; }

 private:
  enum class Work { kNone, kPart, kCommit, kRemoval };

  bool is_quiet(const StepEvents& events) const;
  WorkerReport report();
  void take_note_of_ended_work();
  Orders exchange(const StepEvents& events);
  void obey(const Orders& orders, const Progress& progress);
  void start(Work work, std::function<void()> body);
  void begin_save(const BeginSave& save, const Progress& progress);
  void start_commit();
  void remove_what_is_not_kept(const Progress& progress);
  void take_note_of(const SaveOutcome& outcome);
  std::filesystem::path attempt_folder() const;
  bool is_coordinator() const { return coordination_->rank() == 0; }

  FileSystem& files_;
  Settings settings_;
  Hooks hooks_;
  std::unique_ptr<Communicator> coordination_;
  std::unique_ptr<Coordinator> coordinator_;  // rank 0
  HostSnapshot snapshot_;
  std::vector<std::string> tensor_names_;
  std::filesystem::path last_saved_;

  // Of the save in flight.
  bool is_in_flight_ = false;
  BeginSave save_;
  CheckpointManifest manifest_;  // rank 0
  double blocked_seconds_ = 0.0;
  std::atomic<bool> is_given_up_ = false;
  Work work_ = Work::kNone;  // that the thread does or did
  double work_seconds_ = 0.0;
  PartRecord part_;
  WorkerReport state_;

  BackgroundThread thread_;  // last: it uses the others
};

}  // namespace molora
