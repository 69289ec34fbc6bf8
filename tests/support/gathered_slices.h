// Slices of known tensors over the ranks of a mesh, and what gathering makes of them.
#pragma once

#include <string>
#include <vector>

#include <fmt/format.h>

#include "checkpoint/gather_state.h"
#include "comm/mesh.h"
#include "comm/thread_communicator.h"

namespace molora::testing {

// Numbers that tell every element's place.
inline at::Tensor numbered(const Shape& shape, at::ScalarType type) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return at::arange(count, at::kLong).to(type).view(shape);
}

// This rank's part of the numbers along one dimension.
inline TensorSlice part_of(const std::string& name, const Shape& shape, at::ScalarType type,
                           int64_t dim, int64_t parts, int64_t part) {
  const auto axis = static_cast<size_t>(dim);
  const int64_t length = shape[axis] / parts;
  Shape offset(shape.size(), 0);
  offset[axis] = part * length;
  return {name, numbered(shape, type).slice(dim, offset[axis], offset[axis] + length), shape,
          offset, type};
}

// The same tensor, held by one rank alone.
inline TensorSlice owned_by(TensorSlice slice, bool is_owner) {
  if (!is_owner) slice.value = at::Tensor();
  return slice;
}

inline TrainingState sliced_state(const Mesh& mesh) {
  const MeshShape& shape = mesh.shape();
  TrainingState state;
  state.adapter = {
      part_of("columns", {2, 3, 8}, at::kFloat, 2, shape.tp, mesh.tp_rank()),
      part_of("experts", {8, 3, 2}, at::kDouble, 0, shape.ep, mesh.ep_rank()),
      part_of("whole", {5}, at::kFloat, 0, 1, 0),
  };
  const int last = shape.world() - 1;
  state.optimizer = {
      owned_by(part_of("columns", {2, 3, 8}, at::kFloat, 2, shape.tp, mesh.tp_rank()),
               mesh.dp_rank() == shape.dp - 1),
      owned_by(part_of("whole", {5}, at::kDouble, 0, 1, 0), mesh.world_rank() == last),
  };
  state.progress.set_step(7);
  return state;
}

// "" when rank 0 has every tensor whole and the others have none, else what is wrong.
inline std::string gather_fault(const MeshShape& shape) {
  std::vector<std::string> faults(static_cast<size_t>(shape.world()));
  run_rank_threads(shape.world(), [&](Communicator& world) {
    const Mesh mesh(world, shape);
    const TrainingState state = sliced_state(mesh);
    const TrainingState whole = gather_on_rank_zero(world, state);
    std::string& fault = faults[static_cast<size_t>(world.rank())];
    if (whole.progress.step() != 7) fault = "the progress is lost";
    const auto check = [&](const std::vector<TensorSlice>& got,
                           const std::vector<TensorSlice>& of) {
      if (got.size() != (world.rank() == 0 ? of.size() : 0)) fault = "tensors are missing";
      for (size_t i = 0; i < got.size(); ++i) {
        const bool is_whole = got[i].name == of[i].name && got[i].type == of[i].type &&
                              got[i].offset == Shape(of[i].offset.size(), 0) &&
                              got[i].value.equal(numbered(of[i].global_shape, of[i].type));
        if (!is_whole) fault = fmt::format("{} is not the whole tensor", of[i].name);
      }
    };
    check(whole.adapter, state.adapter);
    check(whole.optimizer, state.optimizer);
  });
  for (size_t rank = 0; rank < faults.size(); ++rank) {
    if (!faults[rank].empty()) return fmt::format("rank {}: {}", rank, faults[rank]);
  }
  return {};
}

}  // namespace molora::testing
