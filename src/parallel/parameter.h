// One trained tensor: the slice of it that this rank holds, and who else holds the same slice.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "comm/mesh.h"

namespace molora {

using at::Tensor;

// The ranks that hold the same slice of a trained tensor. Its gradient is the plain sum over them:
// each has its own part of it (its tokens, or its part of the outputs). Declared where the tensor
// is made, never guessed from names.
enum class SyncGroup {
  kAll,         // replicated: every rank
  kData,        // split over tp: the ranks with the same tp rank
  kExpertData,  // split over ep: the ranks with the same ep rank
  kKvReplicas,  // split over tp by key-value heads of which several tp ranks hold the same
};
constexpr std::array<SyncGroup, 4> kSyncGroups = {SyncGroup::kAll, SyncGroup::kData,
                                                  SyncGroup::kExpertData, SyncGroup::kKvReplicas};

// The axis whose group the sum runs over.
inline Axis sync_axis(SyncGroup group) {
  switch (group) {
    case SyncGroup::kAll:
      return Axis::kAll;
    case SyncGroup::kData:
      return Axis::kData;
    case SyncGroup::kExpertData:
      return Axis::kExpertData;
    case SyncGroup::kKvReplicas:
      return Axis::kKvReplicas;
  }
  return Axis::kAll;
}

// `value` requires grad; its gradient is value.grad().
struct Parameter {
  std::string name;  // of the whole tensor, equal on every rank: "layers.0.mlp.gate_proj.lora_A"
  Tensor value;      // this rank's slice
  std::vector<int64_t> global_shape;
  std::vector<int64_t> offset;  // of the slice in the whole tensor
  SyncGroup sync = SyncGroup::kAll;
  // Rows of dimension 0 of `value` that keep their values and their moments, ascending: their
  // gradient counts as zero, and no update, decay included, reaches them.
  std::vector<int64_t> frozen_rows = {};
  bool is_lora_B = false;  // what LoRA+ gives a learning rate of its own
};

}  // namespace molora
