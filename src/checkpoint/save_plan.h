// Which rank writes which slice of a checkpoint.
#pragma once

#include <cstddef>
#include <vector>

#include "checkpoint/training_state.h"
#include "comm/communicator.h"

namespace molora {

// Every distinct slice of every tensor is written once. Of the ranks that hold the same slice one
// is its owner: the one that has the fewest bytes to write so far, the lowest of these. It follows
// from who holds what alone, so that all ranks agree, and it is made once: a run does not move
// tensors.
class SavePlan {
 public:
  // Collective over `world`: one all-gather. Throws on every rank: InternalError when the slices of
  // all ranks do not cover a tensor exactly once.
  SavePlan(Communicator& world, const TrainingState& state);

  // What this rank writes: indices into state.adapter and state.optimizer.
  const std::vector<size_t>& adapter() const { return adapter_; }
  const std::vector<size_t>& optimizer() const { return optimizer_; }

 private:
  void add_own(size_t index, size_t num_adapter);

  std::vector<size_t> adapter_;
  std::vector<size_t> optimizer_;
};

}  // namespace molora
