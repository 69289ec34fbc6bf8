// This rank's part of a checkpoint, copied to memory of its own: the only thing that training waits
// for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint.pb.h"
#include "checkpoint/save_plan.h"
#include "checkpoint/training_state.h"

namespace molora {

struct SnapshotTensor {
  TensorRecord record;  // without what is only known when it is written
  Tensor source;        // shares storage with what is trained
  Tensor copy;          // on the CPU, contiguous
};

struct SnapshotFile {
  std::string name;  // within the step folder
  std::vector<SnapshotTensor> tensors;
};

// One copy of what this rank writes, made again by each take(): a save needs no other memory.
class HostSnapshot {
 public:
  // Allocates (and touches) the copies, so that no save fails for want of memory or is slow for it.
  HostSnapshot(const TrainingState& state, const SavePlan& plan, int rank);

  // Copies the tensors as they are now. REQUIRES: nobody reads files().
  void take();

  // The files that this rank writes: none without tensors.
  const std::vector<SnapshotFile>& files() const { return files_; }
  uint64_t bytes() const { return bytes_; }

 private:
  void add_file(const std::string& name, const std::vector<TensorSlice>& slices,
                const std::vector<size_t>& indices);

  std::vector<SnapshotFile> files_;
  uint64_t bytes_ = 0;
};

}  // namespace molora
