#include "checkpoint/save_plan.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "comm/thread_communicator.h"
#include "support/expect_throw.h"
#include "support/saved_by_ranks.h"

namespace molora {
namespace {

TEST(SavePlan, EveryLayoutWritesEverySliceOnce) {
  for (const int world : {1, 2, 4, 8}) {
    for (const int tp : {1, 2, 4, 8}) {
      for (const int ep : {1, 2, 4, 8}) {
        if (tp > world || ep > world) continue;
        const MeshShape shape = mesh_shape(world, tp, ep);
        EXPECT_EQ(testing::saved_by_ranks_fault(shape), "") << mesh_text(shape);
      }
    }
  }
}

TEST(SavePlan, ReplicasAreSpreadOverTheRanksThatHoldThem) {
  std::vector<uint64_t> bytes(4, 0);
  run_rank_threads(4, [&](Communicator& world) {
    TrainingState state;
    for (int i = 0; i < 16; ++i) {
      const int64_t size = 100 + 10 * i;
      state.adapter.push_back(
          testing::part_of("a" + std::to_string(i), {size}, at::kFloat, 0, 1, 0));
    }
    const SavePlan plan(world, state);
    for (const size_t index : plan.adapter()) {
      bytes[static_cast<size_t>(world.rank())] += state.adapter[index].value.nbytes();
    }
    EXPECT_TRUE(plan.optimizer().empty());
  });
  const auto [least, most] = std::minmax_element(bytes.begin(), bytes.end());
  EXPECT_GT(*least, 0u);
  EXPECT_LE(*most - *least, 250 * sizeof(float)) << "no more than a tensor apart";
}

TEST(SavePlan, SlicesThatDoNotCoverATensorAreAFaultOnEveryRank) {
  run_rank_threads(3, [](Communicator& world) {
    TrainingState state;
    state.adapter.push_back(testing::part_of("columns", {2, 4}, at::kFloat, 1, 4, world.rank()));
    EXPECT_THROW_WITH(SavePlan(world, state), InternalError, "elements of columns over all ranks",
                      "6 against 8");
  });
}

}  // namespace
}  // namespace molora
