// Known tensors, sliced over the ranks of a mesh as adapters and moments are.
#pragma once

#include <string>
#include <vector>

#include <fmt/format.h>

#include "checkpoint/training_state.h"
#include "comm/mesh.h"

namespace molora::testing {

// Numbers that tell every element's place and the step that they belong to.
inline at::Tensor numbered(const Shape& shape, at::ScalarType type, int64_t step = 0) {
  return (at::arange(shape_elements(shape), at::kLong) + 1000 * step).to(type).view(shape);
}

// This rank's part of the numbers along one dimension.
inline TensorSlice part_of(const std::string& name, const Shape& shape, at::ScalarType type,
                           int64_t dim, int64_t parts, int64_t part) {
  const auto axis = static_cast<size_t>(dim);
  const int64_t length = shape[axis] / parts;
  Shape offset(shape.size(), 0);
  offset[axis] = part * length;
  return {name, numbered(shape, type).slice(dim, offset[axis], offset[axis] + length).contiguous(),
          shape, offset, type};
}

// The same tensor, held by one rank alone.
inline TensorSlice owned_by(TensorSlice slice, bool is_owner) {
  if (!is_owner) slice.value = at::Tensor();
  return slice;
}

// Tensors of every kind: split over tp, over ep, replicated, and moments that one of several
// holders keeps. Sizes divide by 8 ranks of either axis.
inline TrainingState sliced_state(const Mesh& mesh) {
  const MeshShape& shape = mesh.shape();
  TrainingState state;
  state.adapter = {
      part_of("adapter/columns", {2, 3, 8}, at::kFloat, 2, shape.tp, mesh.tp_rank()),
      part_of("adapter/experts", {8, 3, 2}, at::kDouble, 0, shape.ep, mesh.ep_rank()),
      part_of("adapter/whole", {5}, at::kFloat, 0, 1, 0),
  };
  const int last = shape.world() - 1;
  state.optimizer = {
      owned_by(part_of("adamw.first/columns", {2, 3, 8}, at::kFloat, 2, shape.tp, mesh.tp_rank()),
               mesh.dp_rank() == shape.dp - 1),
      owned_by(part_of("adamw.first/whole", {5}, at::kDouble, 0, 1, 0), mesh.world_rank() == last),
  };
  return state;
}

// What the slices of this rank hold after so many steps.
inline void set_step(TrainingState& state, int64_t step) {
  const auto set = [&](std::vector<TensorSlice>& slices) {
    for (TensorSlice& slice : slices) {
      if (!slice.value.defined()) continue;
      at::Tensor whole = numbered(slice.global_shape, slice.type, step);
      for (int64_t d = 0; d < whole.dim(); ++d) {
        const int64_t begin = slice.offset[static_cast<size_t>(d)];
        whole = whole.slice(d, begin, begin + slice.value.size(d));
      }
      slice.value.copy_(whole);
    }
  };
  set(state.adapter);
  set(state.optimizer);
  state.progress.set_step(step);
  state.progress.set_tokens_seen(100 * step);
}

// "" when this rank's slices and the progress are those of the step, else what is not.
inline std::string state_fault(const TrainingState& state, int64_t step) {
  TrainingState expected = state;
  const auto check = [&](const std::vector<TensorSlice>& got,
                         std::vector<TensorSlice>& want) -> std::string {
    for (size_t i = 0; i < got.size(); ++i) {
      if (got[i].value.defined() && !got[i].value.equal(want[i].value)) {
        return fmt::format("{} is not that of step {}", got[i].name, step);
      }
    }
    return {};
  };
  for (auto* slices : {&expected.adapter, &expected.optimizer}) {
    for (TensorSlice& slice : *slices) {
      if (slice.value.defined()) slice.value = slice.value.clone();
    }
  }
  set_step(expected, step);
  if (state.progress.step() != step || state.progress.tokens_seen() != 100 * step) {
    return fmt::format("the progress is that of step {}, not {}", state.progress.step(), step);
  }
  const std::string adapter = check(state.adapter, expected.adapter);
  return adapter.empty() ? check(state.optimizer, expected.optimizer) : adapter;
}

}  // namespace molora::testing
