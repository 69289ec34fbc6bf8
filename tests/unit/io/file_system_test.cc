#include "io/file_system.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/simulated_disk.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using testing::SimulatedDisk;
using testing::TempFolder;

TEST(LocalFiles, AFullDiskIsNamedWithAdvice) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "this system has no /dev/full";
  const auto file = local_files().create("/dev/full");
  EXPECT_THROW_WITH(file->write("x"), IoError, "/dev/full: cannot write", "No space left",
                    "free space or choose another folder");
}

TEST(LocalFiles, WhatCannotBeSyncedIsNamed) {
  // A device without storage and a file system of the kernel's own have nothing to sync.
  EXPECT_THROW_WITH(local_files().create("/dev/null")->sync(), IoError, "/dev/null: cannot sync",
                    "Invalid argument");
  if (!std::filesystem::exists("/proc/self")) GTEST_SKIP() << "this system has no /proc";
  EXPECT_THROW_WITH(local_files().sync_folder("/proc/self"), IoError,
                    "/proc/self: cannot sync the folder", "Invalid argument");
}

TEST(LocalFiles, ANameThatIsTooLongIsNoMissingOne) {
  const TempFolder folder;
  const auto path = folder / std::string(300, 'n');
  EXPECT_THROW_WITH((void)local_files().list(path), IoError, "nnn: cannot list the folder",
                    "File name too long");
  EXPECT_THROW_WITH((void)local_files().exists(path), IoError, "nnn: cannot look for",
                    "File name too long");
}

// Takes a few bytes at once, as a disk may.
class ShortWriter final : public WritableFile {
 public:
  explicit ShortWriter(size_t most) : most_(most) {}
  size_t write_some(std::span<const std::byte> bytes) override {
    const auto part = bytes.first(std::min(most_, bytes.size()));
    taken_.append(reinterpret_cast<const char*>(part.data()), part.size());
    ++calls_;
    return part.size();
  }
  void sync() override {}
  void close() override {}
  const std::string& taken() const { return taken_; }
  int calls() const { return calls_; }

 private:
  size_t most_;
  std::string taken_;
  int calls_ = 0;
};

TEST(WritableFile, WriteGoesOnAfterShortWrites) {
  ShortWriter file(3);
  file.write("0123456789");
  EXPECT_EQ(file.taken(), "0123456789");
  EXPECT_EQ(file.calls(), 4);
}

TEST(WritableFile, AWriteThatTakesNothingIsNotRepeatedForEver) {
  ShortWriter file(0);
  EXPECT_THROW_WITH(file.write("01"), InternalError, "0 of 2 bytes written");
}

// What write_file_atomic and make_folders promise for a crash, at each of their calls.
TEST(WriteFileAtomic, ACrashLeavesTheOldContentOrTheNewOne) {
  for (int64_t k = 1;; ++k) {
    SimulatedDisk disk;
    write_file_atomic(disk, "a", "old content");
    disk.set_faults({.stop_at = k});
    bool has_returned = false;
    try {
      write_file_atomic(disk, "a", "new");
      has_returned = true;
    } catch (const testing::Crashed&) {
    }
    for (const auto how : {testing::Survival::kNothingUnsynced, testing::Survival::kAllNames,
                           testing::Survival::kEverything, testing::Survival::kRandom}) {
      const std::string found = read_file(*disk.after_crash(how, static_cast<uint64_t>(k)), "a");
      EXPECT_TRUE(found == "new" || (!has_returned && found == "old content"))
          << k << ": " << found;
    }
    if (!has_returned) continue;
    EXPECT_EQ(k, 7) << "create, write, sync, close, rename, sync_folder, and none to stop at";
    break;
  }
}

TEST(WriteFileAtomic, AFailureOfAnyCallLeavesTheOldContent) {
  for (int64_t k = 1; k <= 5; ++k) {
    SimulatedDisk disk;
    write_file_atomic(disk, "a", "old");
    disk.set_faults({.fail_at = k, .fail_code = EIO});
    EXPECT_THROW_WITH(write_file_atomic(disk, "a", "new"), IoError, "a.tmp: cannot ",
                      "Input/output error");
    EXPECT_EQ(read_file(disk, "a"), "old");
  }
}

TEST(MakeFolders, EachFolderOutlastsACrash) {
  SimulatedDisk disk;
  make_folders(disk, "p/q/r");
  EXPECT_TRUE(disk.after_crash(testing::Survival::kNothingUnsynced)->exists("p/q/r"));
}

}  // namespace
}  // namespace molora
