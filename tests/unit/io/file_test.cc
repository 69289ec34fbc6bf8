#include "io/file.h"

#include <unistd.h>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using testing::read_text;
using testing::TempFolder;

TEST(File, AtomicWriteReplacesTheContentAndLeavesNoTemporary) {
  const TempFolder folder;
  const auto path = folder.write("a.txt", "old");
  write_file_atomic(path, "new");
  EXPECT_EQ(read_text(path), "new");
  EXPECT_FALSE(std::filesystem::exists(folder / "a.txt.tmp"));
}

TEST(File, ReadGivesTheWholeContent) {
  const TempFolder folder;
  const std::string content("a\0b", 3);
  EXPECT_EQ(read_file(folder.write("a", content)), content);
}

TEST(File, ReadRefusesMoreThanAllowed) {
  const TempFolder folder;
  const auto path = folder.write("a", "12345");
  EXPECT_THROW_WITH((void)read_file(path, 4), IoError, path.string(), "5 bytes", "at most 4");
}

TEST(File, MissingFileIsNamedWithTheReason) {
  EXPECT_THROW_WITH((void)read_file("/nonexistent/x"), IoError, "/nonexistent/x", "No such file");
  EXPECT_THROW_WITH(MappedFile("/nonexistent/x"), IoError, "/nonexistent/x", "No such file");
}

TEST(File, FolderIsNotAFile) {
  const TempFolder folder;
  EXPECT_THROW_WITH(MappedFile(folder.path()), IoError, "expected a file, found a folder");
}

TEST(File, WritingToAMissingFolderIsNamed) {
  const TempFolder folder;
  EXPECT_THROW_WITH(write_file_atomic(folder / "no/such", "x"), IoError, "no/such",
                    "cannot create");
}

TEST(File, FullDiskIsNamedWithAdvice) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "this system has no /dev/full";
  FileWriter writer("/dev/full");
  EXPECT_THROW_WITH(writer.write(std::string_view("x")), IoError, "No space left", "free space");
}

std::string text_at(const FileReader& reader, uint64_t offset, size_t length) {
  std::string text(length, '?');
  reader.read_at(offset, std::as_writable_bytes(std::span(text.data(), text.size())));
  return text;
}

TEST(FileReader, ReadsAtAnyPlaceInAnyOrder) {
  const TempFolder folder;
  const FileReader reader(folder.write("a", "0123456789"));
  EXPECT_EQ(reader.size(), 10u);
  EXPECT_EQ(text_at(reader, 7, 3), "789");
  EXPECT_EQ(text_at(reader, 0, 4), "0123");
  EXPECT_EQ(text_at(reader, 10, 0), "");
}

TEST(FileReader, EndBeforeTheLastByteIsNamed) {
  const TempFolder folder;
  const auto path = folder.write("a", "0123456789");
  const FileReader reader(path);
  EXPECT_THROW_WITH((void)text_at(reader, 8, 3), IoError, path.string(), "nothing at byte 10",
                    "expected 1 more", "shrank");
  std::filesystem::resize_file(path, 5);
  EXPECT_THROW_WITH((void)text_at(reader, 8, 2), IoError, path.string(), "nothing at byte 8",
                    "shrank");
}

TEST(FileReader, MissingFileAndFolderAreNamed) {
  const TempFolder folder;
  EXPECT_THROW_WITH(FileReader(folder / "no"), IoError, "no: cannot open", "No such file");
  EXPECT_THROW_WITH(FileReader(folder.path()), IoError, "expected a file, found a folder");
}

TEST(FileReader, FailedReadIsNamedWithTheReason) {
  const TempFolder folder;
  FileReader reader(folder.write("a", "hello"));
  const FileReader taken = std::move(reader);
  EXPECT_EQ(text_at(taken, 1, 4), "ello");
  // NOLINTNEXTLINE(bugprone-use-after-move): a reader without its file is the failure to test
  EXPECT_THROW_WITH((void)text_at(reader, 0, 1), IoError, "cannot read", "Bad file descriptor");
}

TEST(FileReader, KeepsTheFileThatItOpenedWhenThePathGetsAnother) {
  const TempFolder folder;
  const auto path = folder.write("a", "old");
  FileReader reader(folder.write("b", "x"));
  reader = FileReader(path);
  write_file_atomic(path, "new");
  EXPECT_EQ(text_at(reader, 0, 3), "old");
  EXPECT_EQ(MappedFile(reader).text(), "old");
}

TEST(MappedFile, ShowsTheBytes) {
  const TempFolder folder;
  const MappedFile file(folder.write("a", "hello"));
  EXPECT_EQ(file.text(), "hello");
}

TEST(MappedFile, EmptyFileIsEmpty) {
  const TempFolder folder;
  EXPECT_TRUE(MappedFile(folder.write("a", "")).bytes().empty());
}

TEST(MappedFile, MoveTakesTheMappingAlong) {
  const TempFolder folder;
  MappedFile a(folder.write("a", "hello"));
  MappedFile b(folder.write("b", "x"));
  b = std::move(a);
  EXPECT_EQ(b.text(), "hello");
}

TEST(MappedFileDeathTest, WritingEndsInASignal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const TempFolder folder;
  const MappedFile file(folder.write("a", "hello"));
  auto* address = const_cast<std::byte*>(file.bytes().data());
  EXPECT_DEATH(*static_cast<volatile std::byte*>(address) = std::byte{0}, "");
}

}  // namespace
}  // namespace molora
