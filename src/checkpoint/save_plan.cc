#include "checkpoint/save_plan.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <span>
#include <utility>

#include "base/check.h"
#include "base/mutation.h"

namespace molora {

namespace {

// Where slices lie: for each tensor its offsets, then its sizes; -1 for a rank that has none.
using Places = std::vector<int64_t>;

void append_place(const TensorSlice& slice, Places& places) {
  const size_t dims = slice.global_shape.size();
  if (!slice.value.defined() || slice.value.numel() == 0) {
    places.insert(places.end(), 2 * dims, -1);
    return;
  }
  places.insert(places.end(), slice.offset.begin(), slice.offset.end());
  const auto sizes = slice.value.sizes();
  places.insert(places.end(), sizes.begin(), sizes.end());
}

std::vector<const TensorSlice*> slices_of(const TrainingState& state) {
  std::vector<const TensorSlice*> slices;
  for (const TensorSlice& slice : state.adapter) slices.push_back(&slice);
  for (const TensorSlice& slice : state.optimizer) slices.push_back(&slice);
  return slices;
}

// The places of all ranks, one after another.
Places gather_places(Communicator& world, const std::vector<const TensorSlice*>& slices) {
  Places mine;
  for (const TensorSlice* slice : slices) append_place(*slice, mine);
  Places all(mine.size() * static_cast<size_t>(world.size()));
  world.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));
  if (MOLORA_MUTANT(kSlicesOfThisRank)) {
    for (size_t i = 0; i < all.size(); ++i) all[i] = mine[i % mine.size()];
  }
  return all;
}

// A distinct slice of a tensor, and the ranks that hold it.
struct HeldSlice {
  int64_t elements = 0;
  std::vector<size_t> holders;
};

// The distinct slices of one tensor, in the order of their places. `begin`: of the tensor among the
// places of a rank.
std::vector<HeldSlice> distinct_slices(const Places& places, size_t ranks, size_t begin,
                                       size_t dims) {
  const auto length = static_cast<std::ptrdiff_t>(dims);
  std::map<std::pair<Shape, Shape>, std::vector<size_t>> holders;
  for (size_t rank = 0; rank < ranks; ++rank) {
    const auto at = places.begin() + static_cast<std::ptrdiff_t>(rank * places.size() / ranks) +
                    static_cast<std::ptrdiff_t>(begin);
    if (*at < 0) continue;
    holders[{Shape(at, at + length), Shape(at + length, at + 2 * length)}].push_back(rank);
  }
  std::vector<HeldSlice> slices;
  slices.reserve(holders.size());
  for (auto& [place, held_by] : holders) {
    slices.push_back({shape_elements(place.second), std::move(held_by)});
  }
  return slices;
}

}  // namespace

SavePlan::SavePlan(Communicator& world, const TrainingState& state) {
  const std::vector<const TensorSlice*> slices = slices_of(state);
  if (slices.empty()) return;
  const Places places = gather_places(world, slices);
  const auto this_rank = static_cast<size_t>(world.rank());
  std::vector<uint64_t> bytes(static_cast<size_t>(world.size()), 0);
  size_t begin = 0;
  for (size_t i = 0; i < slices.size(); ++i) {
    const TensorSlice& slice = *slices[i];
    const size_t dims = slice.global_shape.size();
    int64_t covered = 0;
    for (const HeldSlice& held : distinct_slices(places, bytes.size(), begin, dims)) {
      covered += held.elements;
      const size_t owner =
          *std::min_element(held.holders.begin(), held.holders.end(),
                            [&](size_t a, size_t b) { return bytes[a] < bytes[b]; });
      // The mistake: a rank goes by what it writes itself alone.
      const bool counts = !MOLORA_MUTANT(kOwnersDisagree) || owner == this_rank;
      if (counts)
        bytes[owner] += static_cast<uint64_t>(held.elements) * at::elementSize(slice.type);
      if (owner == this_rank) add_own(i, state.adapter.size());
    }
    MOLORA_CHECK_EQ(covered, shape_elements(slice.global_shape), "elements of {} over all ranks",
                    slice.name);
    begin += 2 * dims;
  }
}

void SavePlan::add_own(size_t index, size_t num_adapter) {
  if (index < num_adapter) {
    adapter_.push_back(index);
  } else {
    optimizer_.push_back(index - num_adapter);
  }
}

}  // namespace molora
