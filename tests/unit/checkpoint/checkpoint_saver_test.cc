#include "checkpoint/checkpoint_saver.h"

#include <atomic>
#include <cerrno>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "checkpoint/manifest.h"
#include "checkpoint/verify.h"
#include "support/captured_log.h"
#include "support/expect_throw.h"
#include "support/saving_ranks.h"
#include "support/simulated_disk.h"
#include "watch/fault_injection.h"

namespace molora {
namespace {

using testing::CapturedLog;
using testing::DiskOperation;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::load_newest;
using ::testing::Not;
using testing::run_saving;
using testing::SavingRank;
using testing::SavingRun;
using testing::SimulatedDisk;

const std::filesystem::path kRoot = testing::kRunRoot;

std::vector<std::string> names(SimulatedDisk& disk) {
  std::vector<std::string> found;
  for (const FileSystem::Entry& entry : disk.list(kRoot)) found.push_back(entry.name);
  return found;
}

CheckpointConfig saving_every(uint64_t steps, uint32_t keep_last = 10) {
  CheckpointConfig config;
  config.set_every(steps);
  config.set_keep_last(keep_last);
  return config;
}

TEST(CheckpointSaver, WhatRanksSaveIsWholeAndSaysWhatItIs) {
  SimulatedDisk disk;
  run_saving({.files = disk, .shape = mesh_shape(4, 2, 2)}, [](SavingRank& rank, int) {
    rank.save(7);
    EXPECT_EQ(rank.saver().last_saved(), kRoot / "step-00000007");
  });
  EXPECT_THAT(names(disk), ElementsAre("latest", "step-00000007"));
  EXPECT_EQ(read_file(disk, kRoot / "latest"), "step-00000007\n");
  EXPECT_THAT(find_damages(disk, kRoot / "step-00000007"), IsEmpty());
  const CheckpointManifest manifest = read_manifest(disk, kRoot / "step-00000007");
  EXPECT_EQ(manifest.format_version(), 2u);
  EXPECT_EQ(manifest.reason(), "stop requested");
  EXPECT_EQ(manifest.progress().step(), 7);
  EXPECT_EQ(manifest.config().seed(), 99u);
  EXPECT_EQ(manifest.base_fingerprint(), "base");
  EXPECT_EQ(manifest.data_fingerprint(), "data");
  EXPECT_EQ(manifest.layout().ranks(), 4);
  EXPECT_GT(manifest.files_size(), 4) << "the work is shared";
}

TEST(CheckpointSaver, ABoundaryHasAPointForFaults) {
  const CapturedLog log;
  SimulatedDisk disk;
  const auto body = [](SavingRank& rank, int index) {
    arm_faults(parse_faults("step=7,rank=1,phase=save,kind=throw"), index, 1);
    rank.save(6);
    rank.save(7);
  };
  EXPECT_THROW_WITH(run_saving({.files = disk, .shape = mesh_shape(2, 1, 1)}, body), InternalError,
                    "thrown on request (MOLORA_FAULT): throw in step 7, phase save");
  EXPECT_THAT(names(disk), ElementsAre("latest", "step-00000006"));
}

TEST(CheckpointSaver, TheRanksTogetherKeepOneCopyOfTheState) {
  for (const MeshShape& shape : {mesh_shape(1, 1, 1), mesh_shape(4, 2, 2), mesh_shape(8, 2, 4)}) {
    SimulatedDisk disk;
    std::atomic<uint64_t> copied = 0;
    run_saving({.files = disk, .shape = shape}, [&](SavingRank& rank, int) {
      copied += rank.saver().copied_bytes();
      rank.save(7);
    });
    // columns and experts, whole; their moments.
    EXPECT_EQ(copied, 48 * 4 + 48 * 8 + 5 * 4 + 48 * 4 + 5 * 8u) << mesh_text(shape);
  }
}

TEST(CheckpointSaver, TrainingGoesOnWhileItWrites) {
  SimulatedDisk disk;
  disk.gate().hold("adapter-00001", DiskOperation::kWrite);
  run_saving({.files = disk, .shape = mesh_shape(2, 2, 1), .config = saving_every(10)},
             [&](SavingRank& rank, int number) {
               rank.at_step({.step = 10});
               rank.at_step({.step = 11});
               EXPECT_EQ(rank.saver().last_saved(), "");
               if (number == 1) {
                 disk.gate().wait_until_held();
                 disk.gate().release();
               }
               rank.save(12);
             });
  // What was copied at step 10 was written, not what the tensors held later.
  EXPECT_THAT(names(disk), ElementsAre("latest", "step-00000010", "step-00000012"));
  EXPECT_THAT(find_damages(disk, kRoot / "step-00000010"), IsEmpty());
  TrainingState state = testing::sliced_state(Mesh::single());
  load_checkpoint(disk, kRoot / "step-00000010", LoadScope::kAll, state);
  EXPECT_EQ(testing::state_fault(state, 10), "");
  EXPECT_EQ(load_newest(disk, mesh_shape(1, 1, 1)), 12);
}

TEST(CheckpointSaver, AWriterSlowerThanTheIntervalPassesIntervalsOver) {
  SimulatedDisk disk;
  const CapturedLog log;
  disk.gate().hold("optimizer-00000", DiskOperation::kSync);
  run_saving({.files = disk, .shape = mesh_shape(2, 2, 1), .config = saving_every(1)},
             [&](SavingRank& rank, int number) {
               rank.at_step({.step = 1});
               rank.at_step({.step = 2});
               rank.at_step({.step = 3});
               if (number == 0) {
                 disk.gate().wait_until_held();
                 disk.gate().release();
               }
               rank.at_step({.step = 4, .is_last = true});
             });
  EXPECT_THAT(log.text(), HasSubstr("no checkpoint of step 2: that of step 1 is still being"));
  EXPECT_THAT(log.text(), HasSubstr("no checkpoint of step 3"));
  EXPECT_THAT(names(disk), ElementsAre("latest", "step-00000001", "step-00000004"));
}

TEST(CheckpointSaver, KeepsWhatTheRetentionSays) {
  SimulatedDisk disk;
  CheckpointConfig config = saving_every(0, 2);
  config.set_keep_every(4);
  run_saving({.files = disk, .shape = mesh_shape(2, 1, 1), .config = config},
             [](SavingRank& rank, int) {
               for (int64_t step = 1; step <= 7; ++step) rank.save(step);
             });
  EXPECT_THAT(names(disk),
              ElementsAre("latest", "step-00000004", "step-00000006", "step-00000007"));
}

// Every call of a save fails in turn, with the reason that is likeliest at that place.
TEST(CheckpointSaver, AFailureOfAnyCallLosesNothingAndTrainingGoesOn) {
  const MeshShape shape = mesh_shape(2, 2, 1);
  int64_t calls = 1;
  int64_t failures = 0;
  for (int64_t k = 1; k <= calls; ++k) {
    SimulatedDisk disk;
    const CapturedLog log;
    run_saving({.files = disk, .shape = shape, .config = saving_every(10)},
               [&](SavingRank& rank, int number) {
                 rank.save(1);
                 if (number == 0) disk.set_faults({.fail_at = k, .fail_code = ENOSPC});
                 rank.at_step({.step = 10});
                 // Waits for that of step 10, and must work again.
                 rank.at_step({.step = 11, .is_new_best = true});
                 if (number == 0) calls = std::max(calls, disk.calls());
                 rank.at_step({.step = 12, .is_last = true});
               });
    const std::vector<int64_t> steps = committed_steps(disk, kRoot);
    const bool has_failed = std::count(steps.begin(), steps.end(), 10) == 0;
    failures += has_failed ? 1 : 0;
    EXPECT_EQ(steps.front(), 1) << "call " << k;
    EXPECT_EQ(steps.back(), 12) << "call " << k;
    for (const int64_t step : steps) {
      EXPECT_THAT(find_damages(disk, kRoot / step_folder_name(step)), IsEmpty()) << "call " << k;
    }
    if (has_failed) {
      EXPECT_THAT(log.text(), HasSubstr("the checkpoint of step 10 (interval) was not written: "
                                        "rank "));
      EXPECT_THAT(log.text(), HasSubstr("No space left on device"));
      EXPECT_THAT(log.text(), HasSubstr("training goes on"));
      EXPECT_THAT(names(disk), Not(::testing::Contains(HasSubstr(".tmp-")))) << "call " << k;
    }
  }
  EXPECT_GT(failures, 20) << "of " << calls << " calls";
}

TEST(CheckpointSaver, TheFailureOfARequiredSaveIsTheSameErrorOnEveryRank) {
  SimulatedDisk disk;
  disk.set_faults({.path = "adapter-00001", .fail_at = 1, .fail_code = ENOSPC});
  run_saving({.files = disk, .shape = mesh_shape(3, 1, 1)}, [](SavingRank& rank, int) {
    EXPECT_THROW_WITH(rank.save(7), CheckpointError,
                      "the checkpoint of step 7 (stop requested) was not written: rank 1: ",
                      "adapter-00001.safetensors", "No space left on device",
                      "Earlier checkpoints in run/checkpoints are untouched");
  });
  EXPECT_THAT(names(disk), IsEmpty());
}

TEST(CheckpointSaver, ASlowWriterIsGivenUpAfterTheTimeOut) {
  SimulatedDisk disk;
  const CapturedLog log;
  CheckpointConfig config = saving_every(10);
  config.set_write_timeout(60);
  std::atomic<double> now = 0.0;
  disk.gate().hold("adapter-00001", DiskOperation::kSync);
  run_saving({.files = disk,
              .shape = mesh_shape(2, 2, 1),
              .config = config,
              .now = [&] { return now.load(); }},
             [&](SavingRank& rank, int number) {
               rank.at_step({.step = 10});
               // In the middle of its work: before that it would see at once that it is given up.
               if (number == 1) disk.gate().wait_until_held();
               if (number == 0) now = 61.0;
               rank.at_step({.step = 11});
               if (number == 1) disk.gate().release();
               rank.save(12);
             });
  EXPECT_THAT(log.text(), HasSubstr("not written after 61 s"));
  EXPECT_THAT(names(disk), ElementsAre("latest", "step-00000012"));
}

TEST(CheckpointSaver, ALongWaitIsTold) {
  SimulatedDisk disk;
  const CapturedLog log;
  std::atomic<int> seconds = 0;
  disk.gate().hold("adapter-00001", DiskOperation::kSync);
  const auto now = [&] {
    if (++seconds == 80) disk.gate().release();
    return static_cast<double>(seconds);
  };
  run_saving({.files = disk, .shape = mesh_shape(2, 2, 1), .now = now},
             [](SavingRank& rank, int) { rank.save(12); });
  EXPECT_THAT(log.text(), HasSubstr("step 12 waits for the checkpoint of step 12, for 3"));
  EXPECT_EQ(load_newest(disk, mesh_shape(1, 1, 1)), 12);
}

TEST(CheckpointSaver, WhatMustNotBeBehindTheCheckpointComesBeforeTheCommit) {
  SimulatedDisk disk;
  bool is_commit_seen = true;
  run_saving({.files = disk,
              .shape = mesh_shape(2, 1, 1),
              .before_commit = [&] { is_commit_seen = disk.exists(kRoot / "step-00000007"); }},
             [](SavingRank& rank, int) { rank.save(7); });
  EXPECT_FALSE(is_commit_seen);
  run_saving({.files = disk,
              .shape = mesh_shape(2, 1, 1),
              .before_commit = [] { throw IoError("the metrics cannot be synced"); }},
             [](SavingRank& rank, int) {
               EXPECT_THROW_WITH(rank.save(8), CheckpointError, "rank 0: the metrics cannot");
             });
  EXPECT_THAT(names(disk), ElementsAre("latest", "step-00000007"));
}

TEST(CheckpointSaver, AStepThatIsThereStaysWhenItIsWholeAndIsPutAsideWhenItIsDamaged) {
  SimulatedDisk disk;
  const CapturedLog log;
  const SavingRun run{.files = disk, .shape = mesh_shape(2, 1, 1)};
  const auto save_again = [&] { run_saving(run, [](SavingRank& rank, int) { rank.save(7); }); };
  save_again();
  const auto before = disk.contents();
  save_again();
  EXPECT_EQ(disk.contents(), before);
  disk.remove(kRoot / "step-00000007" / "adapter-00001.safetensors");
  save_again();
  EXPECT_THAT(names(disk), ElementsAre("latest", "step-00000007", "step-00000007.damaged"));
  EXPECT_EQ(load_newest(disk, mesh_shape(1, 1, 1)), 7);
  EXPECT_THAT(log.text(), HasSubstr("kept as step-00000007.damaged"));
}

TEST(CheckpointSaver, WhatDeadProcessesLeftIsRemovedAtTheStartAndNothingElse) {
  SimulatedDisk disk;
  const CapturedLog log;
  const SavingRun run{.files = disk, .shape = mesh_shape(2, 1, 1)};
  run_saving(run, [](SavingRank& rank, int) { rank.save(7); });
  make_folders(disk, kRoot / "step-00000009.tmp-55-1");
  disk.create(kRoot / "step-00000009.tmp-55-1" / "adapter-00000.safetensors")->write("x");
  make_folders(disk, kRoot / "step-00000003.damaged");
  disk.create(kRoot / "notes")->write("mine");
  run_saving(run, [](SavingRank&, int) {});
  EXPECT_THAT(names(disk),
              ElementsAre("latest", "notes", "step-00000003.damaged", "step-00000007"));
  EXPECT_THAT(log.text(), HasSubstr("removed run/checkpoints/step-00000009.tmp-55-1"));
}

TEST(CheckpointSaver, LeavingInTheMiddleOfASaveLeavesNoCheckpoint) {
  SimulatedDisk disk;
  disk.set_faults({.call_delay = std::chrono::milliseconds(1)});
  run_saving({.files = disk, .shape = mesh_shape(2, 1, 1), .config = saving_every(10)},
             [](SavingRank& rank, int) { rank.at_step({.step = 10}); });
  EXPECT_EQ(load_newest(disk, mesh_shape(1, 1, 1)), -1);
}

// The machines of a run must see the same files.
TEST(CheckpointSaver, AFileSystemThatIsNotSharedIsNamed) {
  SimulatedDisk shared;
  SimulatedDisk other;
  run_rank_threads(2, [&](Communicator& world) {
    SimulatedDisk& disk = world.rank() == 0 ? shared : other;
    SavingRank rank({.files = disk, .shape = mesh_shape(2, 1, 1)}, world);
    EXPECT_THROW_WITH(rank.save(7), CheckpointError, "that rank 1 wrote cannot be seen by rank 0",
                      "output_dir must be on a file system that all machines of the run share");
  });
}

}  // namespace
}  // namespace molora
