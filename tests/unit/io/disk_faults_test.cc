#include "support/disk_faults.h"

#include <cerrno>
#include <functional>
#include <map>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/simulated_disk.h"

namespace molora::testing {
namespace {

using ::testing::ElementsAre;
using Contents = std::map<std::string, std::string>;

void put(FileSystem& disk, const std::string& path, std::string_view content) {
  const auto file = disk.create(path);
  file->write(content);
  file->sync();
  file->close();
}

TEST(DiskFaults, CallsAreNumberedAndNamed) {
  SimulatedDisk disk;
  put(disk, "a", "1");
  (void)disk.exists("a");
  disk.rename("a", "b");
  EXPECT_THAT(disk.log(), ElementsAre("create a", "write a", "sync a", "close a", "rename a"));
  disk.set_faults({.counts_reads = true});
  (void)disk.exists("b");
  (void)disk.list(".");
  std::byte byte{};
  disk.open("b")->read_at(0, std::span(&byte, 1));
  EXPECT_THAT(disk.log(), ElementsAre("exists b", "list .", "open b", "read b"));
  EXPECT_EQ(disk.calls(), 4);
}

TEST(DiskFaults, StoppingInAWriteLeavesHalfOfItAndNoLaterCallWorks) {
  SimulatedDisk disk;
  const auto file = disk.create("a");
  disk.set_faults({.stop_at = 2});
  file->write("1234");
  EXPECT_THROW(file->write("56789"), Crashed);
  EXPECT_THROW(file->sync(), Crashed);
  EXPECT_THROW(disk.sync_folder("."), Crashed);
  EXPECT_EQ(disk.contents(), (Contents{{"a", "123456"}}));
}

TEST(DiskFaults, OnlyTheChosenCallsFail) {
  SimulatedDisk disk;
  disk.set_faults({.path = "adapter-00001",
                   .operation = DiskOperation::kWrite,
                   .fail_at = 2,
                   .num_failures = 2,
                   .fail_code = ENOSPC});
  const auto other = disk.create("adapter-00000");
  const auto file = disk.create("adapter-00001");
  for (int i = 0; i < 5; ++i) other->write("x");
  file->write("1");
  for (int i = 0; i < 2; ++i) {
    EXPECT_THROW_WITH(file->write("2"), IoError, "adapter-00001: cannot write",
                      "No space left on device", "free space");
  }
  file->write("3");
  EXPECT_EQ(disk.contents(), (Contents{{"adapter-00000", "xxxxx"}, {"adapter-00001", "13"}}));
}

TEST(DiskFaults, EveryOperationCanFailInTheWordsOfTheLocalFiles) {
  const std::map<std::string, std::function<void(SimulatedDisk&)>> calls = {
      {"a: cannot create: ", [](auto& disk) { (void)disk.create("a"); }},
      {"f: cannot make the folder: ", [](auto& disk) { disk.make_folder("f"); }},
      {"f: cannot sync the folder: ", [](auto& disk) { disk.sync_folder("f"); }},
      {"a: cannot rename to c: ", [](auto& disk) { disk.rename("a", "b/c"); }},
      {"a: cannot remove: ", [](auto& disk) { disk.remove("a"); }},
      {"a: cannot open: ", [](auto& disk) { (void)disk.open("a"); }},
      {"f: cannot list the folder: ", [](auto& disk) { (void)disk.list("f"); }},
      {"a: cannot look for: ", [](auto& disk) { (void)disk.exists("a"); }},
      {"old: cannot close: ",
       [](auto& disk) {
         const auto file = disk.create("old");
         disk.set_faults({.fail_at = 1, .fail_code = EIO});
         file->close();
       }},
      {"old: cannot read: ",
       [](auto& disk) {
         disk.set_faults({.counts_reads = true, .fail_at = 2, .fail_code = EIO});
         std::byte byte{};
         disk.open("old")->read_at(0, std::span(&byte, 1));
       }},
  };
  for (const auto& [words, call] : calls) {
    SimulatedDisk disk;
    put(disk, "old", "1");
    disk.set_faults(
        {.counts_reads = true, .fail_at = words.starts_with("old") ? 0 : 1, .fail_code = EIO});
    EXPECT_THROW_WITH(call(disk), IoError, words, "Input/output error");
  }
}

TEST(DiskFaults, WritesAreShort) {
  SimulatedDisk disk;
  disk.set_faults({.largest_write = 3});
  const std::string text = "0123456789";
  const auto file = disk.create("a");
  EXPECT_EQ(file->write_some(std::as_bytes(std::span(text.data(), text.size()))), 3u);
  file->write(text);
  EXPECT_EQ(disk.contents().at("a"), "012" + text);
}

TEST(DiskFaults, AFullDiskTakesWhatFitsAndRoomComesBack) {
  SimulatedDisk disk;
  put(disk, "a", "12345");
  disk.set_faults({.capacity = 8});
  const auto file = disk.create("b");
  EXPECT_THROW_WITH(file->write("6789"), IoError, "b: cannot write", "No space left on device");
  EXPECT_EQ(disk.contents().at("b"), "678");
  disk.remove("a");
  file->write("9");
  EXPECT_EQ(disk.contents().at("b"), "6789");
}

TEST(DiskFaults, AReadOnlyDiskCanBeReadOnly) {
  SimulatedDisk disk;
  put(disk, "a", "1");
  const auto file = disk.create("b");
  disk.set_faults({.is_read_only = true});
  EXPECT_THROW_WITH(file->write("x"), IoError, "b: cannot write", "Read-only file system",
                    "check the permissions");
  EXPECT_THROW_WITH((void)disk.create("a"), IoError, "a: cannot create", "Read-only");
  EXPECT_THROW_WITH(disk.make_folder("f"), IoError, "Read-only");
  EXPECT_THROW_WITH(disk.rename("a", "c"), IoError, "Read-only");
  EXPECT_THROW_WITH(disk.remove("a"), IoError, "Read-only");
  disk.sync_folder(".");
  EXPECT_EQ(read_file(disk, "a"), "1");
}

TEST(DiskFaults, ASlowDiskTakesItsTime) {
  SimulatedDisk disk;
  const auto file = disk.create("a");
  disk.set_faults(
      {.call_delay = std::chrono::milliseconds(2), .byte_delay = std::chrono::milliseconds(1)});
  const auto begin = std::chrono::steady_clock::now();
  file->write("12345");
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(7));
}

TEST(DiskFaults, AHeldCallWaitsWhileOthersGoOn) {
  SimulatedDisk disk;
  disk.gate().hold("slow", DiskOperation::kCreate);
  std::thread writer([&] { put(disk, "slow", "1"); });
  disk.gate().wait_until_held();
  put(disk, "fast", "2");
  EXPECT_EQ(disk.contents(), (Contents{{"fast", "2"}}));
  disk.gate().release();
  writer.join();
  EXPECT_EQ(disk.contents(), (Contents{{"fast", "2"}, {"slow", "1"}}));
}

TEST(DiskFaults, AHeldCallDiesWithTheMachine) {
  for (const bool restarts : {false, true}) {
    SimulatedDisk disk;
    disk.gate().hold("a", DiskOperation::kCreate);
    bool has_crashed = false;
    std::thread writer([&] {
      try {
        (void)disk.create("a");
      } catch (const Crashed&) {
        has_crashed = true;
      }
    });
    disk.gate().wait_until_held();
    if (restarts) {
      disk.crash(Survival::kEverything);
    } else {
      disk.gate().stop();
    }
    writer.join();
    EXPECT_TRUE(has_crashed);
    EXPECT_EQ(disk.contents(), Contents());
  }
}

TEST(DiskFaults, ThreadsWriteAtTheSameTime) {
  SimulatedDisk disk;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&disk, t] {
      const std::string name = "f" + std::to_string(t);
      disk.make_folder(name);
      for (int i = 0; i < 25; ++i) {
        put(disk, name + "/" + std::to_string(i), "text");
      }
      disk.sync_folder(name);
    });
  }
  for (std::thread& thread : threads) thread.join();
  disk.sync_folder(".");
  EXPECT_EQ(disk.after_crash(Survival::kNothingUnsynced)->contents().size(), 104u);
  EXPECT_EQ(disk.calls(), 4 * (1 + 25 * 4 + 1) + 1);
}

}  // namespace
}  // namespace molora::testing
