// Where each rank stands: two meshes over the same ranks, and a communicator for each axis.
//
//   dense mesh   dp x tp    world rank = dp_rank * tp + tp_rank     (tp neighbours are nearest)
//   expert mesh  edp x ep   world rank = edp_rank * ep + ep_rank    (ep neighbours are nearest)
//
// A tensor-parallel group shares one copy of the base and works on the same tokens; the groups of
// different dp_rank work on different ones. An expert-parallel group shares one copy of the experts
// and may lie across both axes of the dense mesh.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace molora {

struct MeshShape {
  int dp = 1;
  int tp = 1;
  int edp = 1;
  int ep = 1;
  // How many neighbouring tp ranks hold the same key-value head: tp / kv heads when that is more
  // than 1 (config/mesh checks), else 1.
  int kv_replicas = 1;

  int world() const { return dp * tp; }
  bool operator==(const MeshShape&) const = default;
};

// The shape of `world` ranks with these sizes. REQUIRES: tp and ep divide world, kv_replicas
// divides tp.
MeshShape mesh_shape(int world, int tp, int ep, int kv_replicas = 1);

// "dp2 x tp2, edp1 x ep4".
std::string mesh_text(const MeshShape& shape);

enum class Axis {
  kAll,         // every rank
  kTensor,      // tp
  kData,        // dp
  kExpert,      // ep
  kExpertData,  // edp: ranks that hold the same experts
  kKvReplicas,  // ranks that hold the same key-value heads, over dp too; dp itself without replicas
};
constexpr size_t kNumAxes = 6;
constexpr std::array<Axis, kNumAxes> kAxes = {Axis::kAll,    Axis::kTensor,     Axis::kData,
                                              Axis::kExpert, Axis::kExpertData, Axis::kKvReplicas};

// "all", "tp", "dp", "ep", "edp", "kv".
const char* axis_name(Axis axis);

// Which group of the axis a rank belongs to: ranks with the same number are one group.
int group_of(const MeshShape& shape, Axis axis, int world_rank);

// The groups of an axis, each ascending: they share out the ranks of the world.
std::vector<std::vector<int>> axis_groups(const MeshShape& shape, Axis axis);

// Calls and bytes sent by this rank, by axis and kind of collective.
struct Traffic {
  struct Count {
    uint64_t calls = 0;
    uint64_t bytes = 0;
    bool operator==(const Count&) const = default;
  };
  std::array<std::array<Count, kNumCollectiveKinds>, kNumAxes> counts{};

  const Count& at(Axis axis, CollectiveKind kind) const {
    return counts.at(static_cast<size_t>(axis)).at(static_cast<size_t>(kind));
  }
  uint64_t bytes(Axis axis) const;
  uint64_t total_bytes() const;
};
// What was added between two readings.
Traffic operator-(const Traffic& later, const Traffic& earlier);
Traffic operator+(const Traffic& a, const Traffic& b);

// The communicators of one rank, made in the same order on all. Owns them; the world that they were
// made from must outlive it.
//
// Each axis has two: one for tensors, whose buffers lie where the ranks compute, and one for what
// the host itself sends at the borders of steps. On CPUs they are the same.
class Mesh {
 public:
  // Collective over `world`, whose buffers are the host's. REQUIRES: world.size() == shape.world().
  Mesh(Communicator& world, const MeshShape& shape);
  // The same for ranks that compute on GPUs: `of_device` makes the communicator for tensors of a
  // group from that of the host. It is called for groups of several ranks, in the same order on
  // all.
  using MakeCommunicator = std::function<std::unique_ptr<Communicator>(Communicator& host)>;
  Mesh(Communicator& world, const MeshShape& shape, const MakeCommunicator& of_device);

  const MeshShape& shape() const { return shape_; }
  // For tensors.
  Communicator& axis(Axis axis) const { return *axes_.at(static_cast<size_t>(axis)); }
  // For the host's own memory.
  Communicator& host(Axis axis) const { return *host_axes_.at(static_cast<size_t>(axis)); }
  int world_rank() const { return axis(Axis::kAll).rank(); }
  int tp_rank() const { return axis(Axis::kTensor).rank(); }
  int dp_rank() const { return axis(Axis::kData).rank(); }
  int ep_rank() const { return axis(Axis::kExpert).rank(); }

  // A world of one, which needs nobody.
  static Mesh single();

  // Since the mesh was made.
  Traffic traffic() const;
  // Inside collectives of this rank's communicators, since the mesh was made.
  double waited_seconds() const;

 private:
  MeshShape shape_;
  std::vector<std::unique_ptr<Communicator>> owned_;
  std::array<Communicator*, kNumAxes> axes_{};
  std::array<Communicator*, kNumAxes> host_axes_{};
};

}  // namespace molora
