#include "checkpoint/gather_state.h"

#include <algorithm>
#include <numeric>
#include <set>

#include <ATen/core/grad_mode.h>

#include "base/check.h"
#include "base/mutation.h"
#include "tensor/tensor_bytes.h"

namespace molora {

namespace {

// Where a rank's slice lies: offsets, then sizes; empty when it has none.
std::vector<int64_t> describe(const TensorSlice& slice) {
  if (!slice.value.defined()) return std::vector<int64_t>(2 * slice.global_shape.size(), -1);
  std::vector<int64_t> numbers = slice.offset;
  const auto sizes = slice.value.sizes();
  numbers.insert(numbers.end(), sizes.begin(), sizes.end());
  return numbers;
}

// A rank that gives its slice of one tensor.
struct Source {
  int rank = 0;
  Shape offset;
  Shape sizes;
  int64_t elements() const { return shape_elements(sizes); }
};

// The lowest rank of each distinct slice.
std::vector<Source> find_sources(Communicator& world, const TensorSlice& slice) {
  const std::vector<int64_t> mine = describe(slice);
  std::vector<int64_t> all(mine.size() * static_cast<size_t>(world.size()));
  world.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));
  const auto dims = static_cast<std::ptrdiff_t>(slice.global_shape.size());
  std::vector<Source> sources;
  std::set<Shape> seen;
  int64_t covered = 0;
  for (int rank = 0; rank < world.size(); ++rank) {
    const int of = MOLORA_MUTANT(kSlicesOfThisRank) ? world.rank() : rank;
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(of) * 2 * dims;
    Source source{rank, Shape(begin, begin + dims), Shape(begin + dims, begin + 2 * dims)};
    if (source.offset.front() < 0 || !seen.insert(source.offset).second) continue;
    covered += source.elements();
    sources.push_back(std::move(source));
  }
  MOLORA_CHECK_EQ(covered, shape_elements(slice.global_shape), "elements of {} over all ranks",
                  slice.name);
  return sources;
}

// The whole tensor on rank 0, undefined elsewhere.
Tensor gather_tensor(Communicator& world, const TensorSlice& slice, at::ScalarType type) {
  const std::vector<Source> sources = find_sources(world, slice);
  const auto ranks = static_cast<size_t>(world.size());
  const auto element = static_cast<size_t>(at::elementSize(type));
  std::vector<size_t> send(ranks, 0);
  std::vector<size_t> receive(ranks, 0);
  Tensor mine = at::empty({0}, at::TensorOptions().dtype(type));
  for (const Source& source : sources) {
    const size_t bytes = static_cast<size_t>(source.elements()) * element;
    if (world.rank() == 0) receive[static_cast<size_t>(source.rank)] = bytes;
    if (world.rank() != source.rank) continue;
    mine = slice.value.detach().contiguous();
    send[0] = bytes;
  }
  const size_t total = std::accumulate(receive.begin(), receive.end(), size_t{0});
  Tensor flat = at::empty({static_cast<int64_t>(total / element)}, mine.options());
  world.all_to_all(tensor_bytes(mine), send, mutable_tensor_bytes(flat), receive);
  if (world.rank() != 0) return {};
  Tensor whole = at::empty(slice.global_shape, flat.options());
  int64_t begin = 0;
  for (size_t i = 0; i < sources.size(); ++i) {
    const Source& source = sources[MOLORA_MUTANT(kSlicesMisplaced) ? sources.size() - 1 - i : i];
    Tensor place = whole;
    for (size_t d = 0; d < source.sizes.size(); ++d) {
      place = place.slice(static_cast<int64_t>(d), source.offset[d],
                          source.offset[d] + source.sizes[d]);
    }
    place.copy_(flat.slice(0, begin, begin + source.elements()).view(source.sizes));
    begin += source.elements();
  }
  return whole;
}

std::vector<TensorSlice> gather_all(Communicator& world, const std::vector<TensorSlice>& slices) {
  std::vector<TensorSlice> whole;
  for (const TensorSlice& slice : slices) {
    const Tensor tensor = gather_tensor(world, slice, slice.type);
    if (tensor.defined()) whole.push_back(whole_tensor(slice.name, tensor));
  }
  return whole;
}

}  // namespace

TrainingState gather_on_rank_zero(Communicator& world, const TrainingState& state) {
  if (world.size() == 1) return state;
  const at::NoGradGuard no_grad;
  TrainingState whole;
  whole.progress = state.progress;
  whole.adapter = gather_all(world, state.adapter);
  whole.optimizer = gather_all(world, state.optimizer);
  return whole;
}

}  // namespace molora
