#include "watch/reason_file.h"

#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using testing::read_text;
using testing::TempFolder;

Reason lost_rank(int rank) {
  Reason reason;
  reason.set_fault(FAULT_LOST);
  reason.set_exit_code(76);
  reason.set_rank(rank);
  reason.set_saved_step(5);
  reason.set_sentence("rank 1 (host \"b\") was killed by signal 9");
  return reason;
}

TEST(ReasonFile, IsOneLineOfJsonWithTheFieldsNames) {
  const TempFolder folder;
  write_reason(folder / "run", lost_rank(1));
  EXPECT_EQ(read_text(folder / "run/reason.json"),
            "{\"fault\":\"FAULT_LOST\",\"exit_code\":76,\"sentence\":\"rank 1 (host \\\"b\\\") was "
            "killed by signal 9\",\"rank\":1,\"saved_step\":\"5\"}\n");
}

TEST(ReasonFile, ReadsWhatItHasWritten) {
  const TempFolder folder;
  EXPECT_FALSE(read_reason(folder.path()).has_value());
  write_reason(folder.path(), lost_rank(1));
  write_reason(folder.path(), lost_rank(2));
  const auto reason = read_reason(folder.path());
  ASSERT_TRUE(reason.has_value());
  EXPECT_EQ(reason->SerializeAsString(), lost_rank(2).SerializeAsString());
}

TEST(ReasonFile, OfManyThatWriteTheFirstOneWins) {
  const TempFolder folder;
  EXPECT_TRUE(write_first_reason(folder.path(), lost_rank(1)));
  EXPECT_FALSE(write_first_reason(folder.path(), lost_rank(2)));
  EXPECT_EQ(read_reason(folder.path())->rank(), 1);
  // Nothing else stays in the folder.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(ReasonFile, OneThatIsNoReasonIsNamed) {
  const TempFolder folder;
  folder.write("reason.json", "{\"fault\": \"FAULT_OF_SOMEONE\"}");
  EXPECT_THROW_WITH(read_reason(folder.path()), DataError, "reason.json",
                    "not the reason of a run's end", "FAULT_OF_SOMEONE");
}

TEST(ReasonFile, IsRemovedOnceOrNeverThere) {
  const TempFolder folder;
  remove_reason(folder.path());
  write_reason(folder.path(), lost_rank(1));
  remove_reason(folder.path());
  EXPECT_FALSE(std::filesystem::exists(folder / "reason.json"));
}

TEST(ReasonFile, OnlyThatOfAnEarlierRunIsRemovedAtABeginning) {
  const TempFolder folder;
  const auto now = std::chrono::system_clock::now();
  remove_reason_before(folder.path(), now);
  write_reason(folder.path(), lost_rank(1));
  remove_reason_before(folder.path(), now - std::chrono::seconds(60));
  EXPECT_TRUE(std::filesystem::exists(folder / "reason.json"));
  remove_reason_before(folder.path(), now + std::chrono::seconds(60));
  EXPECT_FALSE(std::filesystem::exists(folder / "reason.json"));
}

TEST(ReasonFile, FailsWithThePathWhereItCannotBeWritten) {
  const TempFolder folder;
  folder.write("reason.json/inside", "a folder in its place");
  EXPECT_THROW_WITH(write_reason(folder.path(), lost_rank(1)), IoError, "reason.json");
  EXPECT_THROW_WITH(remove_reason(folder.path()), IoError, "reason.json", "unlink failed");
}

TEST(FaultsFile, HasALineForEachEnd) {
  const TempFolder folder;
  append_fault(folder.path(), lost_rank(1));
  append_fault(folder.path(), lost_rank(2));
  std::ifstream file(folder / "logs/faults.jsonl");
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  EXPECT_THAT(lines, ::testing::ElementsAre(reason_json(lost_rank(1)), reason_json(lost_rank(2))));
}

TEST(FaultsFile, FailsWithThePathAndTheSystemsReason) {
  const TempFolder folder;
  folder.write("logs/faults.jsonl/inside", "");
  EXPECT_THROW_WITH(append_fault(folder.path(), lost_rank(1)), IoError, "faults.jsonl",
                    "open failed: Is a directory");
  std::filesystem::remove_all(folder / "logs");
  std::filesystem::create_directory(folder / "logs");
  std::filesystem::create_symlink("/dev/full", folder / "logs/faults.jsonl");
  EXPECT_THROW_WITH(append_fault(folder.path(), lost_rank(1)), IoError,
                    "write failed: No space left on device");
}

TEST(UtcTime, IsIso8601) {
  EXPECT_THAT(utc_time_text(), ::testing::MatchesRegex("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z"));
}

}  // namespace
}  // namespace molora
