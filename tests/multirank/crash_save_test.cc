// Power is lost at every call that a save makes, on every rank at once, and what the disk keeps of
// the calls before is varied: a fresh process then finds the old step or the new one, to the bit,
// and goes on saving.
#include <gtest/gtest.h>

#include "support/captured_log.h"
#include "support/saving_ranks.h"
#include "support/simulated_disk.h"

namespace molora {
namespace {

using testing::SimulatedDisk;
using testing::Survival;

struct Ending {
  Survival how;
  uint64_t seed;
};

std::vector<Ending> endings(int num_random) {
  std::vector<Ending> all = {
      {Survival::kNothingUnsynced, 0}, {Survival::kAllNames, 0}, {Survival::kEverything, 0}};
  for (int i = 0; i < num_random; ++i) {
    all.push_back({Survival::kRandom, static_cast<uint64_t>(i + 1)});
  }
  return all;
}

// Steps 1 and 2 are there; the machine stops at the k-th call of the save of step 3. Returns
// whether the save was reported to have succeeded.
bool save_and_stop(SimulatedDisk& disk, const MeshShape& shape, const testing::Faults& faults) {
  CheckpointConfig config;
  config.set_keep_last(1);
  const testing::SavingRun run{.files = disk, .shape = shape, .config = config};
  testing::run_saving(run, [](testing::SavingRank& rank, int) {
    rank.save(1);
    rank.save(2);
  });
  disk.set_faults(faults);
  try {
    testing::run_saving(run, [](testing::SavingRank& rank, int) { rank.save(3); });
  } catch (const std::exception&) {
    return false;  // machines without power report nothing
  }
  return true;
}

struct Sweep {
  MeshShape shape;
  int num_random = 0;
  testing::Faults faults = {};
};

// What a process finds after the crash, and that it can go on.
int64_t look(SimulatedDisk& left, const Sweep& sweep, const std::string& where) {
  int64_t found = -1;
  EXPECT_NO_THROW(found = testing::load_newest(left, sweep.shape)) << where;
  EXPECT_TRUE(found == 2 || found == 3) << where << ": step " << found;
  testing::run_saving({.files = left, .shape = sweep.shape},
                      [](testing::SavingRank& rank, int) { rank.save(4); });
  EXPECT_EQ(testing::load_newest(left, mesh_shape(1, 1, 1)), 4) << where;
  for (const FileSystem::Entry& entry : left.list(testing::kRunRoot)) {
    EXPECT_FALSE(is_attempt_folder(entry.name)) << where << ": " << entry.name << " is left";
  }
  return found;
}

void crash_everywhere(Sweep sweep) {
  const testing::CapturedLog log;
  int old_found = 0;
  int new_found = 0;
  bool has_stopped = true;
  int64_t& k = sweep.faults.stop_at;
  while (has_stopped && !::testing::Test::HasFailure()) {
    ++k;
    SimulatedDisk disk;
    const bool is_saved = save_and_stop(disk, sweep.shape, sweep.faults);
    has_stopped = disk.calls() >= k;
    const std::string call = has_stopped ? disk.log().at(static_cast<size_t>(k - 1)) : "no call";
    for (const Ending& ending : endings(sweep.num_random)) {
      const auto left = disk.after_crash(ending.how, ending.seed);
      const std::string where =
          fmt::format("{}, stopped at call {} ({}), survival {} with seed {}",
                      mesh_text(sweep.shape), k, call, static_cast<int>(ending.how), ending.seed);
      const int64_t found = look(*left, sweep, where);
      (found == 2 ? old_found : new_found) += 1;
      // What was reported as saved outlasts everything.
      EXPECT_TRUE(found == 3 || !is_saved) << where;
    }
  }
  EXPECT_GT(k, 20);
  EXPECT_GT(old_found, 10);
  EXPECT_GT(new_found, 10);
  std::printf("%s: stopped at each of %ld calls; old step %d times, new step %d times\n",
              mesh_text(sweep.shape).c_str(), static_cast<long>(k - 1), old_found, new_found);
}

TEST(CrashAtEveryCall, OfOneRank) { crash_everywhere({mesh_shape(1, 1, 1), 8}); }
TEST(CrashAtEveryCall, OfTwoRanks) { crash_everywhere({mesh_shape(2, 2, 1), 4}); }
TEST(CrashAtEveryCall, OfFourRanks) { crash_everywhere({mesh_shape(4, 2, 4), 2}); }
TEST(CrashAtEveryCall, OfTwoRanksThatWriteAFewBytesAtATime) {
  crash_everywhere({mesh_shape(2, 2, 1), 1, {.largest_write = 97}});
}

}  // namespace
}  // namespace molora
