#include "comm/mesh.h"

#include <algorithm>
#include <map>
#include <numeric>

#include <fmt/format.h>

#include "base/check.h"

namespace molora {

MeshShape mesh_shape(int world, int tp, int ep, int kv_replicas) {
  MOLORA_CHECK(world > 0 && tp > 0 && ep > 0 && kv_replicas > 0);
  MOLORA_CHECK(world % tp == 0 && world % ep == 0, "{} ranks, tp {}, ep {}", world, tp, ep);
  MOLORA_CHECK(tp % kv_replicas == 0, "tp {}, {} kv replicas", tp, kv_replicas);
  return {.dp = world / tp, .tp = tp, .edp = world / ep, .ep = ep, .kv_replicas = kv_replicas};
}

std::string mesh_text(const MeshShape& shape) {
  return fmt::format("dp{} x tp{}, edp{} x ep{}", shape.dp, shape.tp, shape.edp, shape.ep);
}

const char* axis_name(Axis axis) {
  switch (axis) {
    case Axis::kAll:
      return "all";
    case Axis::kTensor:
      return "tp";
    case Axis::kData:
      return "dp";
    case Axis::kExpert:
      return "ep";
    case Axis::kExpertData:
      return "edp";
    case Axis::kKvReplicas:
      return "kv";
  }
  return "?";
}

int group_of(const MeshShape& shape, Axis axis, int world_rank) {
  switch (axis) {
    case Axis::kAll:
      return 0;
    case Axis::kTensor:
      return world_rank / shape.tp;
    case Axis::kData:
      return world_rank % shape.tp;
    case Axis::kExpert:
      return world_rank / shape.ep;
    case Axis::kExpertData:
      return world_rank % shape.ep;
    case Axis::kKvReplicas:
      return world_rank % shape.tp / shape.kv_replicas;
  }
  return 0;
}

std::vector<std::vector<int>> axis_groups(const MeshShape& shape, Axis axis) {
  std::map<int, std::vector<int>> groups;
  for (int rank = 0; rank < shape.world(); ++rank) {
    groups[group_of(shape, axis, rank)].push_back(rank);
  }
  std::vector<std::vector<int>> list;
  list.reserve(groups.size());
  for (auto& [number, members] : groups) list.push_back(std::move(members));
  return list;
}

uint64_t Traffic::bytes(Axis axis) const {
  const auto& kinds = counts.at(static_cast<size_t>(axis));
  return std::accumulate(kinds.begin(), kinds.end(), uint64_t{0},
                         [](uint64_t sum, const Count& count) { return sum + count.bytes; });
}

uint64_t Traffic::total_bytes() const {
  uint64_t sum = 0;
  for (const Axis axis : kAxes) sum += bytes(axis);
  return sum;
}

Traffic operator-(const Traffic& later, const Traffic& earlier) {
  Traffic difference = later;
  for (size_t axis = 0; axis < kNumAxes; ++axis) {
    for (size_t kind = 0; kind < kNumCollectiveKinds; ++kind) {
      difference.counts[axis][kind].calls -= earlier.counts[axis][kind].calls;
      difference.counts[axis][kind].bytes -= earlier.counts[axis][kind].bytes;
    }
  }
  return difference;
}

Traffic operator+(const Traffic& a, const Traffic& b) {
  Traffic sum = a;
  for (size_t axis = 0; axis < kNumAxes; ++axis) {
    for (size_t kind = 0; kind < kNumCollectiveKinds; ++kind) {
      sum.counts[axis][kind].calls += b.counts[axis][kind].calls;
      sum.counts[axis][kind].bytes += b.counts[axis][kind].bytes;
    }
  }
  return sum;
}

Mesh::Mesh(Communicator& world, const MeshShape& shape) : Mesh(world, shape, nullptr) {}

Mesh::Mesh(Communicator& world, const MeshShape& shape, const MakeCommunicator& of_device)
    : shape_(shape) {
  MOLORA_CHECK_EQ(world.size(), shape.world());
  for (const Axis axis : kAxes) {
    const auto index = static_cast<size_t>(axis);
    if (axis == Axis::kKvReplicas && shape.kv_replicas == 1) {
      axes_[index] = axes_[static_cast<size_t>(Axis::kData)];
      host_axes_[index] = host_axes_[static_cast<size_t>(Axis::kData)];
      continue;
    }
    const int group = group_of(shape, axis, world.rank());
    const std::string name = axis_name(axis);
    owned_.push_back(world.split(of_device ? name + " host" : name, group));
    host_axes_[index] = owned_.back().get();
    axes_[index] = host_axes_[index];
    if (!of_device || host_axes_[index]->size() == 1) continue;
    owned_.push_back(of_device(*host_axes_[index]));
    axes_[index] = owned_.back().get();
  }
}

// Communicators of one rank refer to nothing, so the world may go.
Mesh Mesh::single() {
  const auto world = make_single_communicator("world");
  return {*world, MeshShape{}};
}

Traffic Mesh::traffic() const {
  Traffic traffic;
  for (const Axis axis : kAxes) {
    if (axis == Axis::kKvReplicas && shape_.kv_replicas == 1) continue;  // counted as dp
    auto& counts = traffic.counts[static_cast<size_t>(axis)];
    const auto add = [&counts](const FlightRecord& record) {
      for (size_t kind = 0; kind < kNumCollectiveKinds; ++kind) {
        const auto as_kind = static_cast<CollectiveKind>(kind);
        counts[kind].calls += record.calls(as_kind);
        counts[kind].bytes += record.bytes_sent(as_kind);
      }
    };
    add(host(axis).record());
    if (&this->axis(axis) != &host(axis)) add(this->axis(axis).record());
  }
  return traffic;
}

double Mesh::waited_seconds() const {
  double seconds = 0.0;
  for (const auto& communicator : owned_) seconds += communicator->record().waited_seconds();
  return seconds;
}

}  // namespace molora
