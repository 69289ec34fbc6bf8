#include "checkpoint/gather_state.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/gathered_slices.h"

namespace molora {
namespace {

TEST(GatherState, SlicesOfEveryLayoutAreTheWholeTensors) {
  for (const int world : {1, 2, 4, 8}) {
    for (const int tp : {1, 2, 4, 8}) {
      for (const int ep : {1, 2, 4, 8}) {
        if (tp > world || ep > world) continue;
        const MeshShape shape = mesh_shape(world, tp, ep);
        EXPECT_EQ(testing::gather_fault(shape), "") << mesh_text(shape);
      }
    }
  }
}

TEST(GatherState, SlicesThatDoNotCoverATensorAreAFaultOnEveryRank) {
  run_rank_threads(3, [](Communicator& world) {
    TrainingState state;
    state.adapter.push_back(testing::part_of("columns", {2, 4}, at::kFloat, 1, 4, world.rank()));
    EXPECT_THROW_WITH((void)gather_on_rank_zero(world, state), InternalError,
                      "elements of columns over all ranks", "6 against 8");
  });
}

}  // namespace
}  // namespace molora
