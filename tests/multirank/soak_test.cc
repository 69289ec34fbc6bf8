// Thousands of tiny steps with everything uneven: ranks that start late and stall at random, rows
// and routing out of balance. Nothing hangs, replicas stay equal to the bit, memory stays flat.
#include <chrono>
#include <fstream>
#include <string>
#include <thread>

#include "parallel/replica_audit.h"
#include "support/oracle.h"

namespace molora {
namespace {

constexpr int64_t kSteps = 2000;
constexpr int64_t kAuditEvery = 50;
constexpr int64_t kSettled = 400;  // steps after which memory may no longer grow
constexpr int64_t kAllowedGrowth = int64_t{16} << 20;

int64_t resident_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word != "VmRSS:") continue;
    int64_t kib = 0;
    status >> kib;
    return kib * 1024;
  }
  return 0;
}

// Sleeps up to `limit` microseconds, often not at all; a function of its arguments.
void stall(uint64_t rank, uint64_t step, uint32_t limit) {
  const uint64_t index = step * 64 + rank;
  if (philox_below(71, index, 4) != 0) return;
  std::this_thread::sleep_for(std::chrono::microseconds(philox_below(72, index, limit)));
}

// Between no row and twice as many as there are data-parallel ranks, at least one.
std::vector<TrainRow> uneven_rows(int64_t step, int64_t dp, int32_t vocab) {
  const auto most = static_cast<uint64_t>(2 * dp);
  return testing::random_rows(
      1 + static_cast<int64_t>(philox_below(73, static_cast<uint64_t>(step), most)), 100 * step,
      vocab);
}

void soak(const testing::RunShape& shape) {
  testing::TempFolder folder;
  testing::write_tiny_model(folder.path(), testing::model_for(2));
  const int kv_heads = 2;
  run_rank_threads(shape.num_ranks, [&](Communicator& world) {
    const auto rank = static_cast<uint64_t>(world.rank());
    std::this_thread::sleep_for(std::chrono::milliseconds(40 * rank));
    const MeshShape mesh =
        mesh_shape(shape.num_ranks, shape.tp, shape.ep, std::max(1, shape.tp / kv_heads));
    TrainConfig train;
    train.set_micro_batch_size(1);
    testing::TrainedModel run(folder.path(), testing::oracle_adapter(8, 2), Mesh(world, mesh),
                              shape.layout, at::kFloat, {.train = train});
    testing::randomize(run.adapters(), 21, 0.1);
    int64_t settled = 0;
    for (int64_t step = 0; step < kSteps; ++step) {
      stall(rank, static_cast<uint64_t>(step), 3000);
      const StepRows rows =
          deal_rows(uneven_rows(step, mesh.dp, 37), run.mesh().dp_rank(), mesh.dp, 1);
      const StepResult result = run.step().run(step, rows, 1e-4);
      ASSERT_TRUE(std::isfinite(result.loss)) << "step " << step;
      if ((step + 1) % kAuditEvery == 0) {
        ASSERT_EQ(find_replica_difference(run.mesh(), run.adapters().parameters()), "")
            << "after step " << step;
      }
      if (step + 1 == kSettled) settled = resident_bytes();
    }
    if (world.rank() == 0) {
      const int64_t growth = resident_bytes() - settled;
      ::testing::Test::RecordProperty("growth_kib", std::to_string(growth / 1024));
      std::printf("memory %+.1f MiB between step %d and step %d\n",
                  static_cast<double>(growth) / (1 << 20), static_cast<int>(kSettled),
                  static_cast<int>(kSteps));
      EXPECT_LE(growth, kAllowedGrowth);
    }
  });
}

testing::RunShape layout_of(int ranks, int tp, int ep, ExchangeMode mode) {
  testing::RunShape shape;
  shape.num_ranks = ranks;
  shape.tp = tp;
  shape.ep = ep;
  shape.layout.has_sequence_parallel = true;
  shape.layout.modes = all_groups(mode);
  return shape;
}

TEST(Soak, TokensAcrossAllRanks) { soak(layout_of(4, 2, 4, ExchangeMode::kTokens)); }
TEST(Soak, MixedModes) {
  testing::RunShape shape = layout_of(4, 2, 2, ExchangeMode::kTokens);
  shape.layout.modes.by_group = {ExchangeMode::kGather, ExchangeMode::kRank, ExchangeMode::kTokens,
                                 ExchangeMode::kReplicate};
  soak(shape);
}

}  // namespace
}  // namespace molora
