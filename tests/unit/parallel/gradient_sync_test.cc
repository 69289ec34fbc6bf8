#include "parallel/gradient_sync.h"

#include <cmath>

#include <gtest/gtest.h>

#include "comm/thread_communicator.h"

namespace molora {
namespace {

Parameter parameter(const std::string& name, SyncGroup sync, int64_t size) {
  return {name, at::zeros({size}, at::kFloat), {size}, {0}, sync};
}

// Some of each sync group, of different sizes.
std::vector<Parameter> parameters() {
  return {parameter("a", SyncGroup::kAll, 5),        parameter("b", SyncGroup::kData, 7),
          parameter("c", SyncGroup::kExpertData, 4), parameter("d", SyncGroup::kKvReplicas, 3),
          parameter("e", SyncGroup::kAll, 1),        parameter("f", SyncGroup::kData, 2),
          parameter("g", SyncGroup::kExpertData, 9)};
}

// dp 2 x tp 4 with two kv replicas, ep 2.
const MeshShape kShape = mesh_shape(8, 4, 2, 2);

float gradient_value(int rank, size_t parameter, int64_t i) {
  return static_cast<float>(std::sin(1.0 + rank * 3.1 + static_cast<double>(parameter) * 0.7 +
                                     static_cast<double>(i) * 0.13)) *
         (rank % 2 == 0 ? 1e3F : 1.0F);
}

std::vector<Tensor> gradients_of(int rank, const std::vector<Parameter>& list) {
  std::vector<Tensor> gradients;
  for (size_t p = 0; p < list.size(); ++p) {
    Tensor gradient = at::empty_like(list[p].value);
    for (int64_t i = 0; i < gradient.numel(); ++i) gradient[i] = gradient_value(rank, p, i);
    gradients.push_back(gradient);
  }
  return gradients;
}

// ((g_0 + g_1) + g_2) + ... over the group of `rank`, in rank order.
Tensor expected_sum(int rank, size_t p, const Parameter& of) {
  const Axis axis = sync_axis(of.sync);
  Tensor sum;
  for (int other = 0; other < kShape.world(); ++other) {
    if (group_of(kShape, axis, other) != group_of(kShape, axis, rank)) continue;
    Tensor gradient = at::empty_like(of.value);
    for (int64_t i = 0; i < gradient.numel(); ++i) gradient[i] = gradient_value(other, p, i);
    sum = sum.defined() ? sum + gradient : gradient;
  }
  return sum;
}

class GradientSyncPlacement : public ::testing::TestWithParam<OptimizerPlacement> {};

TEST_P(GradientSyncPlacement, SumsOverTheDeclaredGroupInRankOrder) {
  run_rank_threads(kShape.world(), [&](Communicator& world) {
    const Mesh mesh(world, kShape);
    const std::vector<Parameter> list = parameters();
    const GradientSync sync(mesh, list, GetParam());
    const std::vector<Tensor> sums = sync.sum(gradients_of(world.rank(), list));
    ASSERT_EQ(sums.size(), sync.updated().size());
    for (size_t i = 0; i < sums.size(); ++i) {
      const size_t p = sync.updated()[i];
      EXPECT_TRUE(sums[i].equal(expected_sum(world.rank(), p, list[p]))) << list[p].name;
    }
  });
}

// Each element counts once, whether its parameter is replicated or cut, and whoever updates it.
TEST_P(GradientSyncPlacement, NormsCountEveryElementOnce) {
  run_rank_threads(kShape.world(), [&](Communicator& world) {
    const Mesh mesh(world, kShape);
    const std::vector<Parameter> list = parameters();
    const GradientSync sync(mesh, list, GetParam());
    const std::vector<double> squares =
        sync.square_norms(sync.sum(gradients_of(world.rank(), list)));
    for (size_t p = 0; p < list.size(); ++p) {
      double expected = 0.0;
      for (const auto& group : axis_groups(kShape, sync_axis(list[p].sync))) {
        expected +=
            expected_sum(group.front(), p, list[p]).to(at::kDouble).square().sum().item<double>();
      }
      EXPECT_NEAR(squares[p], expected, 1e-9 * expected) << list[p].name;
    }
  });
}

TEST_P(GradientSyncPlacement, EveryMemberEndsWithTheOwnersValues) {
  run_rank_threads(kShape.world(), [&](Communicator& world) {
    const Mesh mesh(world, kShape);
    const std::vector<Parameter> list = parameters();
    const GradientSync sync(mesh, list, GetParam());
    const std::vector<Tensor> sums = sync.sum(gradients_of(world.rank(), list));
    for (size_t i = 0; i < sums.size(); ++i) list[sync.updated()[i]].value.copy_(sums[i]);
    sync.share_updates();
    for (size_t p = 0; p < list.size(); ++p) {
      EXPECT_TRUE(list[p].value.equal(expected_sum(world.rank(), p, list[p]))) << list[p].name;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Placements, GradientSyncPlacement,
                         ::testing::Values(OptimizerPlacement::kSharded,
                                           OptimizerPlacement::kReplicated),
                         [](const auto& placement) {
                           return placement.param == OptimizerPlacement::kSharded ? "Sharded"
                                                                                  : "Replicated";
                         });

TEST(GradientSync, OwnersShareOutTheirGroup) {
  run_rank_threads(kShape.world(), [&](Communicator& world) {
    const Mesh mesh(world, kShape);
    std::vector<Parameter> list;
    for (int i = 0; i < 40; ++i) {
      list.push_back(parameter("p" + std::to_string(i), SyncGroup::kAll, 10 + i % 3));
    }
    const GradientSync sync(mesh, list, OptimizerPlacement::kSharded);
    EXPECT_EQ(sync.updated().size(), 5u);
    std::vector<int64_t> mine(list.size(), 0);
    for (const size_t p : sync.updated()) mine[p] = 1;
    std::vector<int64_t> all(mine.size() * 8);
    world.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));
    for (size_t p = 0; p < list.size(); ++p) {
      int64_t owners = 0;
      for (size_t rank = 0; rank < 8; ++rank) owners += all[rank * list.size() + p];
      EXPECT_EQ(owners, 1) << list[p].name;
    }
  });
}

}  // namespace
}  // namespace molora
