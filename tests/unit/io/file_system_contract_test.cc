// What every FileSystem does: the local one, and the one of tests, which must not be kinder.
#include <functional>
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "io/file_system.h"
#include "support/expect_throw.h"
#include "support/simulated_disk.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::SimulatedDisk;
using testing::TempFolder;

// A disk with a folder of the test's own.
class DiskUnderTest {
 public:
  virtual ~DiskUnderTest() = default;
  DiskUnderTest() = default;
  DiskUnderTest(const DiskUnderTest&) = delete;
  DiskUnderTest& operator=(const DiskUnderTest&) = delete;
  DiskUnderTest(DiskUnderTest&&) = delete;
  DiskUnderTest& operator=(DiskUnderTest&&) = delete;
  virtual FileSystem& files() = 0;
  virtual std::filesystem::path root() const = 0;
};

class LocalDisk final : public DiskUnderTest {
 public:
  FileSystem& files() override { return local_files(); }
  std::filesystem::path root() const override { return folder_.path(); }

 private:
  TempFolder folder_;
};

class DiskInMemory final : public DiskUnderTest {
 public:
  DiskInMemory() { disk_.make_folder("disk"); }
  FileSystem& files() override { return disk_; }
  std::filesystem::path root() const override { return "disk"; }

 private:
  SimulatedDisk disk_;
};

struct Implementation {
  const char* name;
  std::function<std::unique_ptr<DiskUnderTest>()> make;
};

class FileSystemContract : public ::testing::TestWithParam<Implementation> {
 protected:
  FileSystem& files() { return disk_->files(); }
  std::filesystem::path at(const char* name) const { return disk_->root() / name; }

  std::filesystem::path put(const char* name, std::string_view content) {
    const auto file = files().create(at(name));
    file->write(content);
    file->sync();
    file->close();
    return at(name);
  }
  std::vector<std::string> names(const std::filesystem::path& folder) {
    std::vector<std::string> found;
    for (const auto& entry : files().list(folder)) {
      found.push_back(entry.name + (entry.is_folder ? "/" : ""));
    }
    return found;
  }

 private:
  std::unique_ptr<DiskUnderTest> disk_ = GetParam().make();
};

TEST_P(FileSystemContract, WhatIsWrittenIsRead) {
  const auto path = put("a", std::string_view("one\0two", 7));
  const auto file = files().open(path);
  EXPECT_EQ(file->size(), 7u);
  std::string text(3, '?');
  file->read_at(4, std::as_writable_bytes(std::span(text.data(), text.size())));
  EXPECT_EQ(text, "two");
  EXPECT_EQ(read_file(files(), path), std::string("one\0two", 7));
}

TEST_P(FileSystemContract, WritesAppendAndCreatingEmpties) {
  const auto path = put("a", "long content");
  const auto file = files().create(path);
  EXPECT_EQ(read_file(files(), path), "");
  file->write("x");
  file->write(std::string_view());
  file->write("yz");
  EXPECT_EQ(read_file(files(), path), "xyz");
  EXPECT_EQ(file->write_some({}), 0u);
}

TEST_P(FileSystemContract, ReadingPastTheEndIsNamed) {
  const auto path = put("a", "12345");
  const auto file = files().open(path);
  std::string text(4, '?');
  EXPECT_THROW_WITH(file->read_at(3, std::as_writable_bytes(std::span(text.data(), text.size()))),
                    IoError, path.string(), "nothing at byte 5", "expected 2 more");
}

TEST_P(FileSystemContract, ReadFileRefusesMoreThanAllowed) {
  const auto path = put("a", "12345");
  EXPECT_THROW_WITH((void)read_file(files(), path, 4), IoError, path.string(), "5 bytes",
                    "at most 4");
}

TEST_P(FileSystemContract, OpeningWhatIsNoFileIsNamed) {
  EXPECT_THROW_WITH((void)files().open(at("no")), IoError, "no: cannot open", "No such file");
  EXPECT_THROW_WITH((void)files().open(put("a", "") / "b"), IoError, "a/b: cannot open",
                    "Not a directory");
  files().make_folder(at("f"));
  EXPECT_THROW_WITH((void)files().open(at("f")), IoError, "f: expected a file, found a folder");
}

TEST_P(FileSystemContract, CreatingWhereNoFileCanBeIsNamed) {
  EXPECT_THROW_WITH((void)files().create(at("no/a")), IoError, "no/a: cannot create",
                    "No such file");
  EXPECT_THROW_WITH((void)files().create(put("a", "") / "b"), IoError, "a/b: cannot create",
                    "Not a directory");
  files().make_folder(at("f"));
  EXPECT_THROW_WITH((void)files().create(at("f")), IoError, "f: cannot create", "Is a directory");
}

TEST_P(FileSystemContract, UsingAFileAfterClosingItIsNamed) {
  const auto file = files().create(at("a"));
  file->close();
  EXPECT_THROW_WITH(file->write("x"), IoError, "a: cannot write", "Bad file descriptor");
  EXPECT_THROW_WITH(file->sync(), IoError, "a: cannot sync", "Bad file descriptor");
  EXPECT_THROW_WITH(file->close(), IoError, "a: cannot close", "Bad file descriptor");
}

TEST_P(FileSystemContract, AFolderIsMadeOnceAndOnlyWhereItsParentIs) {
  files().make_folder(at("f"));
  files().make_folder(at("f"));
  EXPECT_THAT(names(at("")), ElementsAre("f/"));
  EXPECT_THROW_WITH(files().make_folder(at("x/y")), IoError, "x/y: cannot make the folder",
                    "No such file");
  EXPECT_THROW_WITH(files().make_folder(put("a", "")), IoError, "a: cannot make the folder",
                    "File exists");
  EXPECT_THROW_WITH(files().make_folder(at("a/b")), IoError, "a/b: cannot make the folder",
                    "Not a directory");
}

TEST_P(FileSystemContract, SyncingWhatIsNoFolderIsNamed) {
  EXPECT_NO_THROW(files().sync_folder(at("")));
  EXPECT_THROW_WITH(files().sync_folder(at("no")), IoError, "no: cannot open the folder",
                    "No such file");
  EXPECT_THROW_WITH(files().sync_folder(put("a", "")), IoError, "a: cannot open the folder",
                    "Not a directory");
}

TEST_P(FileSystemContract, RenameReplacesAFileOrAnEmptyFolder) {
  files().rename(put("a", "new"), put("b", "old"));
  EXPECT_THAT(names(at("")), ElementsAre("b"));
  EXPECT_EQ(read_file(files(), at("b")), "new");
  files().make_folder(at("f"));
  put("f/x", "1");
  files().make_folder(at("g"));
  files().rename(at("f"), at("g"));
  EXPECT_THAT(names(at("")), ElementsAre("b", "g/"));
  EXPECT_THAT(names(at("g")), ElementsAre("x"));
  files().rename(at("g/x"), at("y"));
  EXPECT_THAT(names(at("")), ElementsAre("b", "g/", "y"));
  files().rename(at("y"), at("y"));
  EXPECT_EQ(read_file(files(), at("y")), "1");
}

TEST_P(FileSystemContract, RenameRefusesWhatWouldLoseOrTangleSomething) {
  files().make_folder(at("f"));
  files().make_folder(at("g"));
  put("g/x", "1");
  put("a", "2");
  const auto refused = [&](const char* from, const char* to, const char* reason) {
    const std::string what = std::filesystem::path(to).filename().string();
    EXPECT_THROW_WITH(files().rename(at(from), at(to)), IoError,
                      std::string(from) + ": cannot rename to " + what, reason);
  };
  refused("f", "g", "Directory not empty");
  refused("a", "f", "Is a directory");
  refused("f", "a", "Not a directory");
  refused("g", "g/sub", "Invalid argument");
  refused("no", "b", "No such file");
  refused("a", "no/b", "No such file");
  refused("a", "g/x/b", "Not a directory");
  EXPECT_THAT(names(at("")), ElementsAre("a", "f/", "g/"));
  EXPECT_EQ(read_file(files(), at("g/x")), "1");
}

TEST_P(FileSystemContract, AnOpenFileIsKeptWhenItsNameGoes) {
  const auto file = files().open(put("a", "old"));
  write_file_atomic(files(), at("a"), "new");
  std::string text(3, '?');
  file->read_at(0, std::as_writable_bytes(std::span(text.data(), text.size())));
  EXPECT_EQ(text, "old");
}

TEST_P(FileSystemContract, RemoveTakesAFileOrAnEmptyFolderAndMindsNoMissingOne) {
  files().remove(put("a", "1"));
  files().make_folder(at("f"));
  put("f/x", "1");
  EXPECT_THROW_WITH(files().remove(at("f")), IoError, "f: cannot remove", "Directory not empty");
  EXPECT_THROW_WITH(files().remove(at("f/x/y")), IoError, "f/x/y: cannot remove",
                    "Not a directory");
  files().remove(at("f/x"));
  files().remove(at("f"));
  files().remove(at("never"));
  files().remove(at("never/there"));
  EXPECT_THAT(names(at("")), IsEmpty());
}

TEST_P(FileSystemContract, ListIsSortedAndAMissingFolderHasNothing) {
  put("b", "");
  put("a", "");
  put(".hidden", "");
  files().make_folder(at("aa"));
  EXPECT_THAT(names(at("")), ElementsAre(".hidden", "a", "aa/", "b"));
  EXPECT_THAT(names(at("no")), IsEmpty());
  EXPECT_THAT(names(at("a")), IsEmpty());
}

TEST_P(FileSystemContract, ExistsFindsFilesAndFolders) {
  put("a", "");
  files().make_folder(at("f"));
  EXPECT_TRUE(files().exists(at("a")));
  EXPECT_TRUE(files().exists(at("f")));
  EXPECT_FALSE(files().exists(at("no")));
  EXPECT_FALSE(files().exists(at("a/b")));
}

TEST_P(FileSystemContract, MakeFoldersMakesAllThatAreMissing) {
  make_folders(files(), at("p/q/r"));
  make_folders(files(), at("p/q/r"));
  make_folders(files(), at("p/s"));
  EXPECT_THAT(names(at("p")), ElementsAre("q/", "s/"));
  EXPECT_THAT(names(at("p/q")), ElementsAre("r/"));
  EXPECT_THROW_WITH(make_folders(files(), put("a", "") / "b"), IoError,
                    "a/b: cannot make the folder", "Not a directory");
}

TEST_P(FileSystemContract, RemoveAllTakesAWholeTreeOrOneFile) {
  make_folders(files(), at("p/q"));
  put("p/x", "1");
  put("p/q/y", "2");
  remove_all(files(), at("p"));
  remove_all(files(), put("a", ""));
  remove_all(files(), at("never"));
  EXPECT_THAT(names(at("")), IsEmpty());
}

TEST_P(FileSystemContract, WriteFileAtomicReplacesAndLeavesNoTemporary) {
  write_file_atomic(files(), at("a"), "first");
  write_file_atomic(files(), at("a"), "second");
  EXPECT_EQ(read_file(files(), at("a")), "second");
  EXPECT_THAT(names(at("")), ElementsAre("a"));
}

INSTANTIATE_TEST_SUITE_P(
    All, FileSystemContract,
    ::testing::Values(Implementation{"local", [] { return std::make_unique<LocalDisk>(); }},
                      Implementation{"simulated", [] { return std::make_unique<DiskInMemory>(); }}),
    [](const auto& implementation) { return std::string(implementation.param.name); });

}  // namespace
}  // namespace molora
