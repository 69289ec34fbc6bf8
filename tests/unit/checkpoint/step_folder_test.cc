#include "checkpoint/step_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/simulated_disk.h"

namespace molora {
namespace {

using testing::SimulatedDisk;

TEST(StepFolder, NamesAreReadBack) {
  EXPECT_EQ(step_of_folder(step_folder_name(100)), 100);
  EXPECT_EQ(step_of_folder(step_folder_name(123456789)), 123456789);
  EXPECT_EQ(step_of_folder(attempt_folder_name(100, "3-1")), std::nullopt);
  EXPECT_TRUE(is_attempt_folder(attempt_folder_name(100, "3-1")));
  for (const char* name : {"step-", "step-12", "step-0000010x", "latest", "step--0000001",
                           "step-00000100.damaged", "step-00000100.damaged-2"}) {
    EXPECT_EQ(step_of_folder(name), std::nullopt) << name;
    EXPECT_FALSE(is_attempt_folder(name)) << name;
  }
}

TEST(StepFolder, CommittedStepsAreFoldersOfThatName) {
  SimulatedDisk disk;
  EXPECT_TRUE(committed_steps(disk, "nowhere").empty());
  for (const char* name : {"step-00000020", "step-00000003", "step-00000007.tmp-1-1",
                           "step-00000009.damaged", "cache"}) {
    make_folders(disk, std::filesystem::path("root") / name);
  }
  disk.create("root/step-00000005")->write("a file");
  EXPECT_EQ(committed_steps(disk, "root"), (std::vector<int64_t>{3, 20}));
}

TEST(StepFolder, DamagedStepsArePutAsideUnderAFreeName) {
  SimulatedDisk disk;
  for (const char* expected : {"step-00000007.damaged", "step-00000007.damaged-2"}) {
    make_folders(disk, "root/step-00000007");
    disk.create("root/step-00000007/part")->write(expected);
    EXPECT_EQ(put_aside(disk, "root", 7), expected);
    EXPECT_EQ(read_file(disk, std::filesystem::path("root") / expected / "part"), expected);
  }
  EXPECT_TRUE(committed_steps(disk, "root").empty());
}

// Whenever the machine stops, a step is there whole or is not there under its name.
TEST(StepFolder, RemovalLeavesNoHalfCheckpoint) {
  bool has_stopped = true;
  int64_t k = 0;
  while (has_stopped) {
    ++k;
    SimulatedDisk disk;
    make_folders(disk, "root/step-00000007");
    for (const char* name : {"a", "b", "manifest.pb"}) {
      const auto file = disk.create(std::filesystem::path("root/step-00000007") / name);
      file->write("x");
      file->sync();
    }
    disk.sync_folder("root/step-00000007");
    disk.set_faults({.stop_at = k});
    has_stopped = false;
    try {
      remove_step(disk, "root", 7);
    } catch (const testing::Crashed&) {
      has_stopped = true;
    }
    for (const auto how : {testing::Survival::kNothingUnsynced, testing::Survival::kAllNames,
                           testing::Survival::kEverything}) {
      const auto left = disk.after_crash(how);
      if (left->exists("root/step-00000007")) {
        EXPECT_EQ(left->list("root/step-00000007").size(), 3u) << "call " << k;
      }
      remove_stale_attempts(*left, "root");
      EXPECT_EQ(left->list("root").size(), committed_steps(*left, "root").size()) << "call " << k;
    }
  }
  EXPECT_GT(k, 6);
}

}  // namespace
}  // namespace molora
