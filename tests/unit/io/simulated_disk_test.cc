#include "support/simulated_disk.h"

#include <cerrno>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"

namespace molora::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

enum class Sync { kYes, kNo };

void put(FileSystem& disk, const std::string& path, std::string_view content, Sync sync) {
  const auto file = disk.create(path);
  file->write(content);
  if (sync == Sync::kYes) file->sync();
  file->close();
}

using Contents = std::map<std::string, std::string>;

Contents left(const SimulatedDisk& disk, Survival how, uint64_t seed = 0) {
  return disk.after_crash(how, seed)->contents();
}

TEST(SimulatedDisk, NothingSurvivesWithoutASync) {
  SimulatedDisk disk;
  put(disk, "a", "text", Sync::kNo);
  disk.make_folder("f");
  EXPECT_EQ(disk.contents(), (Contents{{"a", "text"}, {"f/", ""}}));
  EXPECT_EQ(left(disk, Survival::kNothingUnsynced), Contents());
  EXPECT_EQ(left(disk, Survival::kAllNames), (Contents{{"a", ""}, {"f/", ""}}));
  EXPECT_EQ(left(disk, Survival::kEverything), disk.contents());
}

TEST(SimulatedDisk, BytesNeedTheSyncOfTheFileAndNamesThatOfTheFolder) {
  SimulatedDisk disk;
  put(disk, "a", "text", Sync::kYes);
  EXPECT_EQ(left(disk, Survival::kNothingUnsynced), Contents());
  disk.sync_folder(".");
  EXPECT_EQ(left(disk, Survival::kNothingUnsynced), (Contents{{"a", "text"}}));
  put(disk, "b", "more", Sync::kNo);
  disk.sync_folder("/");
  EXPECT_EQ(left(disk, Survival::kNothingUnsynced), (Contents{{"a", "text"}, {"b", ""}}));
}

TEST(SimulatedDisk, WhatIsAppendedAfterASyncIsLost) {
  SimulatedDisk disk;
  const auto file = disk.create("a");
  disk.sync_folder(".");
  file->write("12");
  file->sync();
  file->write("34");
  EXPECT_EQ(left(disk, Survival::kNothingUnsynced), (Contents{{"a", "12"}}));
  EXPECT_EQ(left(disk, Survival::kAllNames), (Contents{{"a", "12"}}));
  EXPECT_EQ(left(disk, Survival::kEverything), (Contents{{"a", "1234"}}));
}

TEST(SimulatedDisk, AnEmptiedFileHasItsOldBytesOrNone) {
  SimulatedDisk disk;
  put(disk, "a", "old", Sync::kYes);
  disk.sync_folder(".");
  put(disk, "a", "new text", Sync::kNo);
  EXPECT_EQ(left(disk, Survival::kNothingUnsynced), (Contents{{"a", "old"}}));
  EXPECT_EQ(left(disk, Survival::kAllNames), (Contents{{"a", ""}}));
  std::set<std::string> seen;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    seen.insert(left(disk, Survival::kRandom, seed).at("a"));
  }
  EXPECT_TRUE(seen.count("old") == 1 && seen.count("") == 1 && seen.count("new text") == 1);
  EXPECT_TRUE(seen.count("new") == 1 && seen.count(std::string(3, '\0')) == 1);
  EXPECT_EQ(seen.size(), 18u) << "the old text, and the new one cut after 0 to 8 bytes or zeros";
}

TEST(SimulatedDisk, ARenameIsLostWholeOrThereWhole) {
  SimulatedDisk disk;
  put(disk, "a", "old", Sync::kYes);
  put(disk, "a.tmp", "new", Sync::kYes);
  disk.sync_folder(".");
  disk.rename("a.tmp", "a");
  const Contents before = {{"a", "old"}, {"a.tmp", "new"}};
  const Contents after = {{"a", "new"}};
  EXPECT_EQ(left(disk, Survival::kNothingUnsynced), before);
  EXPECT_EQ(left(disk, Survival::kAllNames), after);
  std::set<Contents> seen;
  for (uint64_t seed = 0; seed < 50; ++seed) seen.insert(left(disk, Survival::kRandom, seed));
  EXPECT_EQ(seen, (std::set<Contents>{before, after}));
}

TEST(SimulatedDisk, ARenameBetweenFoldersIsOnTheDeviceWithEitherOfThem) {
  for (const char* synced : {"f", "g"}) {
    SimulatedDisk disk;
    disk.make_folder("f");
    disk.make_folder("g");
    disk.sync_folder(".");
    put(disk, "f/a", "1", Sync::kYes);
    disk.sync_folder("f");
    disk.rename("f/a", "g/b");
    EXPECT_EQ(left(disk, Survival::kNothingUnsynced),
              (Contents{{"f/", ""}, {"f/a", "1"}, {"g/", ""}}));
    disk.sync_folder(synced);
    EXPECT_EQ(left(disk, Survival::kNothingUnsynced),
              (Contents{{"f/", ""}, {"g/", ""}, {"g/b", "1"}}));
  }
}

TEST(SimulatedDisk, NamesOfAFolderSurviveInOrder) {
  SimulatedDisk disk;
  for (const char* name : {"a", "b", "c"}) put(disk, name, "", Sync::kYes);
  disk.remove("a");
  std::set<std::string> seen;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    std::string names;
    for (const auto& [name, bytes] : left(disk, Survival::kRandom, seed)) names += name;
    seen.insert(names);
  }
  EXPECT_EQ(seen, (std::set<std::string>{"", "a", "ab", "abc", "bc"}));
}

TEST(SimulatedDisk, AFolderWithoutItsNameIsLostWithAllThatIsInIt) {
  SimulatedDisk disk;
  disk.make_folder("f");
  put(disk, "f/a", "1", Sync::kYes);
  disk.sync_folder("f");
  EXPECT_EQ(left(disk, Survival::kNothingUnsynced), Contents());
  disk.rename("f", "g");
  disk.sync_folder(".");
  EXPECT_EQ(left(disk, Survival::kNothingUnsynced), (Contents{{"g/", ""}, {"g/a", "1"}}));
}

TEST(SimulatedDisk, ARemovedNameComesBackWithoutASync) {
  SimulatedDisk disk;
  put(disk, "a", "1", Sync::kYes);
  disk.sync_folder(".");
  disk.remove("a");
  EXPECT_EQ(left(disk, Survival::kNothingUnsynced), (Contents{{"a", "1"}}));
  disk.sync_folder(".");
  EXPECT_EQ(left(disk, Survival::kEverything), Contents());
}

TEST(SimulatedDisk, TheSameSeedLosesTheSame) {
  SimulatedDisk disk;
  for (const char* name : {"a", "b", "c"}) put(disk, name, "0123456789", Sync::kNo);
  for (uint64_t seed = 0; seed < 10; ++seed) {
    EXPECT_EQ(left(disk, Survival::kRandom, seed), left(disk, Survival::kRandom, seed));
  }
}

TEST(SimulatedDisk, AFailedSyncLosesTheBytesThoughTheNextSyncSucceeds) {
  SimulatedDisk disk;
  const auto file = disk.create("a");
  disk.sync_folder(".");
  file->write("text");
  disk.set_faults({.operation = DiskOperation::kSync, .fail_at = 1, .fail_code = EIO});
  EXPECT_THROW_WITH(file->sync(), IoError, "a: cannot sync", "Input/output error");
  file->sync();
  EXPECT_EQ(left(disk, Survival::kEverything), (Contents{{"a", ""}}));
  put(disk, "a", "again", Sync::kYes);
  EXPECT_EQ(left(disk, Survival::kNothingUnsynced), (Contents{{"a", "again"}}));
}

TEST(SimulatedDisk, AfterACrashItGoesOnWithWhatSurvived) {
  SimulatedDisk disk;
  put(disk, "a", "1", Sync::kYes);
  disk.sync_folder(".");
  const auto writer = disk.create("b");
  const auto reader = disk.open("a");
  disk.set_faults({.stop_at = 1});
  EXPECT_THROW(disk.remove("a"), Crashed);
  EXPECT_THROW((void)disk.exists("a"), Crashed) << "reads are not numbered, but stop as well";
  disk.crash(Survival::kNothingUnsynced);
  EXPECT_EQ(disk.contents(), (Contents{{"a", "1"}}));
  EXPECT_EQ(disk.calls(), 0);
  EXPECT_THROW(writer->write("x"), Crashed) << "its process is gone";
  std::byte byte{};
  EXPECT_THROW(reader->read_at(0, std::span(&byte, 1)), Crashed);
  put(disk, "b", "2", Sync::kNo);
  EXPECT_EQ(disk.contents(), (Contents{{"a", "1"}, {"b", "2"}}));
}

// Four ways to replace the checkpoint "step-1" by "step-2", two files each. One is right.
enum class Mistake {
  kNone,
  kFilesNotSynced,
  kFolderNotSynced,
  kRenamedBeforeSync,
  kCommitNotSynced
};

void save(FileSystem& disk, int step, Mistake mistake) {
  const std::string name = "step-" + std::to_string(step);
  const std::string attempt = name + ".tmp";
  disk.make_folder(attempt);
  std::vector<std::unique_ptr<WritableFile>> files;
  for (const char* part : {"/adapter", "/optimizer"}) {
    files.push_back(disk.create(attempt + part));
    files.back()->write(name + part);
    const bool is_later = mistake == Mistake::kRenamedBeforeSync;
    if (!is_later && mistake != Mistake::kFilesNotSynced) files.back()->sync();
  }
  if (mistake != Mistake::kFolderNotSynced) disk.sync_folder(attempt);
  disk.rename(attempt, name);
  if (mistake != Mistake::kCommitNotSynced) disk.sync_folder(".");
  if (mistake == Mistake::kRenamedBeforeSync) {
    for (const auto& file : files) file->sync();
  }
}

bool is_whole(const Contents& contents, const std::string& name) {
  for (const char* part : {"/adapter", "/optimizer"}) {
    const auto found = contents.find(name + part);
    if (found == contents.end() || found->second != name + part) return false;
  }
  return true;
}

// What is wrong on the disk that a crash left behind; empty when step-1 or step-2 can be used.
std::string damage(const Contents& contents, bool has_returned) {
  if (contents.count("step-2/") == 1) return is_whole(contents, "step-2") ? "" : "step-2 damaged";
  if (has_returned) return "step-2 lost";
  return is_whole(contents, "step-1") ? "" : "step-1 damaged";
}

// Crashes the writer at each of its calls and looks at what survives in every way; returns what was
// found wrong.
std::set<std::string> crash_everywhere(Mistake mistake) {
  std::set<std::string> found;
  bool has_returned = false;
  for (int64_t k = 1; !has_returned; ++k) {
    SimulatedDisk disk;
    save(disk, 1, Mistake::kNone);
    disk.set_faults({.stop_at = k});
    try {
      save(disk, 2, mistake);
      has_returned = true;
    } catch (const Crashed&) {
    }
    for (const auto how :
         {Survival::kNothingUnsynced, Survival::kAllNames, Survival::kEverything}) {
      found.insert(damage(left(disk, how), has_returned));
    }
    for (uint64_t seed = 0; seed < 30; ++seed) {
      found.insert(damage(left(disk, Survival::kRandom, seed), has_returned));
    }
  }
  found.erase("");
  return found;
}

TEST(SimulatedDisk, ARightWriterSurvivesEveryCrash) {
  EXPECT_THAT(crash_everywhere(Mistake::kNone), UnorderedElementsAre());
}

TEST(SimulatedDisk, EachForgottenSyncOfAWriterIsFound) {
  EXPECT_THAT(crash_everywhere(Mistake::kFilesNotSynced), ElementsAre("step-2 damaged"));
  EXPECT_THAT(crash_everywhere(Mistake::kFolderNotSynced), ElementsAre("step-2 damaged"));
  EXPECT_THAT(crash_everywhere(Mistake::kRenamedBeforeSync), ElementsAre("step-2 damaged"));
  EXPECT_THAT(crash_everywhere(Mistake::kCommitNotSynced), ElementsAre("step-2 lost"));
}

}  // namespace
}  // namespace molora::testing
