#include "comm/mesh.h"

#include <algorithm>
#include <mutex>
#include <set>

#include <gtest/gtest.h>

#include "comm/thread_communicator.h"

namespace molora {
namespace {

std::vector<MeshShape> all_shapes(int max_world) {
  std::vector<MeshShape> shapes;
  for (int world = 1; world <= max_world; ++world) {
    for (int tp = 1; tp <= world; ++tp) {
      for (int ep = 1; ep <= world; ++ep) {
        for (int kv = 1; kv <= tp; ++kv) {
          if (world % tp != 0 || world % ep != 0 || tp % kv != 0) continue;
          shapes.push_back(mesh_shape(world, tp, ep, kv));
        }
      }
    }
  }
  return shapes;
}

TEST(MeshGroups, EveryAxisSharesOutTheWorld) {
  for (const MeshShape& shape : all_shapes(16)) {
    for (const Axis axis : kAxes) {
      std::vector<int> seen;
      for (const auto& group : axis_groups(shape, axis)) {
        EXPECT_TRUE(std::is_sorted(group.begin(), group.end()));
        seen.insert(seen.end(), group.begin(), group.end());
      }
      std::sort(seen.begin(), seen.end());
      std::vector<int> expected(static_cast<size_t>(shape.world()));
      for (int i = 0; i < shape.world(); ++i) expected[static_cast<size_t>(i)] = i;
      EXPECT_EQ(seen, expected) << mesh_text(shape) << " " << axis_name(axis);
    }
  }
}

TEST(MeshGroups, SizesAreThoseOfTheShape) {
  for (const MeshShape& shape : all_shapes(16)) {
    const auto check = [&](Axis axis, int size) {
      for (const auto& group : axis_groups(shape, axis)) {
        EXPECT_EQ(static_cast<int>(group.size()), size) << mesh_text(shape) << axis_name(axis);
      }
    };
    check(Axis::kAll, shape.world());
    check(Axis::kTensor, shape.tp);
    check(Axis::kData, shape.dp);
    check(Axis::kExpert, shape.ep);
    check(Axis::kExpertData, shape.edp);
    check(Axis::kKvReplicas, shape.dp * shape.kv_replicas);
  }
}

// A rank is found again by where it stands on both axes of either mesh.
TEST(MeshGroups, TwoAxesMeetInOneRank) {
  for (const MeshShape& shape : all_shapes(12)) {
    for (int rank = 0; rank < shape.world(); ++rank) {
      for (const auto& [a, b] :
           {std::pair(Axis::kTensor, Axis::kData), std::pair(Axis::kExpert, Axis::kExpertData)}) {
        int common = 0;
        for (int other = 0; other < shape.world(); ++other) {
          common += group_of(shape, a, other) == group_of(shape, a, rank) &&
                            group_of(shape, b, other) == group_of(shape, b, rank)
                        ? 1
                        : 0;
        }
        EXPECT_EQ(common, 1) << mesh_text(shape);
      }
    }
  }
}

TEST(MeshGroups, NeighboursAreOnTheFastAxes) {
  const MeshShape shape = mesh_shape(8, 2, 4);
  EXPECT_EQ(axis_groups(shape, Axis::kTensor).front(), (std::vector<int>{0, 1}));
  EXPECT_EQ(axis_groups(shape, Axis::kExpert).back(), (std::vector<int>{4, 5, 6, 7}));
  EXPECT_EQ(axis_groups(shape, Axis::kData).front(), (std::vector<int>{0, 2, 4, 6}));
  EXPECT_EQ(axis_groups(shape, Axis::kExpertData).front(), (std::vector<int>{0, 4}));
}

// The communicators connect exactly the ranks that the pure function names.
TEST(MeshCommunicators, ConnectTheGroups) {
  for (const MeshShape& shape : all_shapes(6)) {
    run_rank_threads(shape.world(), [&](Communicator& world) {
      const Mesh mesh(world, shape);
      for (const Axis axis : kAxes) {
        Communicator& communicator = mesh.axis(axis);
        const int mine = world.rank();
        std::vector<int> members(static_cast<size_t>(communicator.size()));
        communicator.all_gather(std::as_bytes(std::span(&mine, 1)),
                                std::as_writable_bytes(std::span(members)));
        const auto groups = axis_groups(shape, axis);
        EXPECT_NE(std::find(groups.begin(), groups.end(), members), groups.end());
        EXPECT_EQ(members[static_cast<size_t>(communicator.rank())], mine);
      }
    });
  }
}

// Ranks on GPUs: every group of several has a communicator of its own for tensors, made in the same
// order on all; the host keeps its own. (Here both are of threads.)
TEST(MeshCommunicators, OfDevicesStandBesideThoseOfTheHost) {
  run_rank_threads(4, [](Communicator& world) {
    std::vector<std::string> made;
    const Mesh mesh(world, mesh_shape(4, 2, 4), [&](Communicator& host) {
      made.push_back(host.name());
      return host.split("of " + host.name(), 0);
    });
    EXPECT_EQ(made, (std::vector<std::string>{"all host", "tp host", "dp host", "ep host"}));
    EXPECT_EQ(mesh.axis(Axis::kTensor).name(), "of tp host");
    EXPECT_EQ(mesh.host(Axis::kTensor).name(), "tp host");
    EXPECT_EQ(&mesh.axis(Axis::kExpertData), &mesh.host(Axis::kExpertData));  // one rank
    const Traffic before = mesh.traffic();
    const std::vector<std::byte> send(6);
    std::vector<std::byte> recv(12);
    mesh.axis(Axis::kTensor).all_gather(send, recv);
    mesh.host(Axis::kTensor).all_gather(send, recv);
    EXPECT_EQ((mesh.traffic() - before).at(Axis::kTensor, CollectiveKind::kAllGather),
              (Traffic::Count{2, 12}));
  });
}

TEST(MeshTraffic, IsCountedByAxisAndOperation) {
  run_rank_threads(4, [](Communicator& world) {
    const Mesh mesh(world, mesh_shape(4, 2, 4));
    const Traffic before = mesh.traffic();
    const std::vector<std::byte> send(6);
    std::vector<std::byte> recv(12);
    mesh.axis(Axis::kTensor).all_gather(send, recv);
    std::vector<std::byte> blocks(4);
    const std::vector<size_t> ones(4, 1);
    mesh.axis(Axis::kExpert).all_to_all(std::vector<std::byte>(4), ones, blocks, ones);
    const Traffic traffic = mesh.traffic() - before;
    EXPECT_EQ(traffic.at(Axis::kTensor, CollectiveKind::kAllGather), (Traffic::Count{1, 6}));
    EXPECT_EQ(traffic.at(Axis::kExpert, CollectiveKind::kAllToAll), (Traffic::Count{1, 3}));
    EXPECT_EQ(traffic.bytes(Axis::kData), 0u);
    EXPECT_EQ(traffic.total_bytes(), 9u);
  });
}

}  // namespace
}  // namespace molora
