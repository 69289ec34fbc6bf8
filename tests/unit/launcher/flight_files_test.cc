#include "launcher/agent/flight_files.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using testing::TempFolder;

RankRecord record_of(uint32_t rank) {
  RankRecord record;
  record.mutable_state()->set_rank(rank);
  record.mutable_state()->set_place("layer 3 down_proj, backward");
  record.add_events()->set_sequence(7);
  return record;
}

FlightFiles files_since(const TempFolder& folder, std::chrono::seconds ago) {
  return {folder.path(), std::chrono::system_clock::now() - ago};
}

TEST(FlightFiles, AreReadBackByAnyRank) {
  const TempFolder folder;
  const FlightFiles files = files_since(folder, std::chrono::seconds(60));
  files.write(record_of(2));
  files.write(record_of(0));
  const std::vector<RankRecord> records = files.read(3);
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].SerializeAsString(), record_of(0).SerializeAsString());
  EXPECT_EQ(records[1].SerializeAsString(), record_of(2).SerializeAsString());
  EXPECT_NE(testing::read_text(folder / "logs/flight-rank-2.json").find("\"place\": \"layer 3"),
            std::string::npos);
}

TEST(FlightFiles, OfAnEarlierRunDoNotCount) {
  const TempFolder folder;
  const FlightFiles later = files_since(folder, std::chrono::seconds(-60));
  later.write(record_of(0));
  later.ask_all();
  EXPECT_TRUE(later.read(1).empty());
  EXPECT_FALSE(later.is_asked_for());
}

TEST(FlightFiles, AnswerAQuestionToAll) {
  const TempFolder folder;
  const FlightFiles files = files_since(folder, std::chrono::seconds(60));
  EXPECT_FALSE(files.is_asked_for());
  files.ask_all();
  EXPECT_TRUE(files.is_asked_for());
}

TEST(FlightFiles, ThatAreDamagedAreLeftOut) {
  const TempFolder folder;
  folder.write("logs/flight-rank-0.json", "{\"state\":");
  const FlightFiles files = files_since(folder, std::chrono::seconds(60));
  files.write(record_of(1));
  EXPECT_EQ(files.read(2).size(), 1u);
}

TEST(FlightFiles, FailWithThePathWhereTheyCannotBeWritten) {
  const TempFolder folder;
  folder.write("logs", "a file in place of the folder");
  EXPECT_THROW_WITH(files_since(folder, std::chrono::seconds(60)).write(record_of(1)), IoError,
                    "logs");
}

}  // namespace
}  // namespace molora
