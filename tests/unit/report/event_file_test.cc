#include "report/event_file.h"

#include <set>
#include <string>

#include <gtest/gtest.h>

#include "base/error.h"
#include "io/file.h"
#include "support/expect_throw.h"
#include "support/temp_folder.h"
#include "tensorboard_event.pb.h"

namespace molora {
namespace {

// CRC-32C of "123456789" is 0xe3069283 (the check value of the CRC catalogue). Rotated right by 15:
// 0xe3069283 >> 15 = 0x0001c60d, 0xe3069283 << 17 = 0x25060000 (mod 2^32), together 0x2507c60d;
// plus 0xa282ead8 is 0xc78ab0e5.
TEST(EventFile, TheChecksumIsRotatedAndMoved) {
  EXPECT_EQ(masked_crc32c("123456789"), 0xc78ab0e5u);
  // CRC-32C of nothing is 0.
  EXPECT_EQ(masked_crc32c(""), 0xa282ead8u);
}

// The first record of every event file: its bytes as TensorFlow's own writer makes them, but for
// the time, which is 0 here: 24 bytes, 0x09 (field 1, double) .., 0x1a (field 3, text) 13 letters.
TEST(EventFile, ARecordIsLengthChecksumDataChecksum) {
  const std::string event = std::string("\x09", 1) + std::string(8, '\0') +
                            "\x1a\x0d"
                            "brain.Event:2";
  ASSERT_EQ(event.size(), 24u);
  const std::string record = event_record(event);
  ASSERT_EQ(record.size(), 8 + 4 + 24 + 4u);
  EXPECT_EQ(record.substr(0, 8), std::string("\x18\0\0\0\0\0\0\0", 8));
  // As in every event file that TensorFlow has written: a3 7f 4b 22.
  EXPECT_EQ(record.substr(8, 4), "\xa3\x7f\x4b\x22");
  EXPECT_EQ(record.substr(12, 24), event);
}

std::vector<tensorboard::Event> events_in(const std::filesystem::path& path) {
  const std::string bytes = read_file(path);
  std::vector<tensorboard::Event> events;
  for (size_t at = 0; at < bytes.size();) {
    size_t length = 0;
    for (size_t i = 0; i < 8; ++i) {
      length |= static_cast<size_t>(static_cast<unsigned char>(bytes.at(at + i))) << (8 * i);
    }
    events.emplace_back();
    const std::string data = bytes.substr(at + 12, length);
    EXPECT_TRUE(events.back().ParseFromString(data));
    EXPECT_EQ(bytes.substr(at, 16 + length), event_record(data));
    at += 16 + length;
  }
  return events;
}

TEST(EventFile, BeginsWithItsVersionAndTakesLaterStepsBack) {
  const testing::TempFolder folder;
  EventFile file(folder / "tensorboard", 7);
  file.append(7, 1000.5, {{"train/loss", 0.25}, {"train/other", 3}});
  file.append(8, 1001, {});
  file.sync();
  const std::vector<tensorboard::Event> events = events_in(file.path());
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].file_version(), "brain.Event:2");
  EXPECT_EQ(events[1].session_log().status(), tensorboard::SessionLog::START);
  EXPECT_EQ(events[1].step(), 7);
  EXPECT_EQ(events[2].wall_time(), 1000.5);
  ASSERT_EQ(events[2].summary().value_size(), 2);
  EXPECT_EQ(events[2].summary().value(0).tag(), "train/loss");
  EXPECT_EQ(events[2].summary().value(0).simple_value(), 0.25f);
}

TEST(EventFile, EveryStartHasAFileThatComesAfterTheOthers) {
  const testing::TempFolder folder;
  EXPECT_FALSE(has_event_files(folder.path()));
  EXPECT_FALSE(has_event_files(folder / "none"));
  std::string last;
  for (int i = 0; i < 4; ++i) {
    const EventFile file(folder.path(), 0);
    const std::string name = file.path().filename().string();
    EXPECT_GT(name, last);
    last = name;
  }
  EXPECT_TRUE(has_event_files(folder.path()));
  folder.write("events.out.tfevents.9999999998.host.1", "");  // a clock that was ahead
  EXPECT_NE(EventFile(folder.path(), 0).path().filename().string().find("9999999999"),
            std::string::npos);
}

TEST(EventFile, AFolderThatCannotBeIsNamed) {
  const testing::TempFolder folder;
  folder.write("file", "");
  EXPECT_THROW_WITH(EventFile(folder / "file", 0), IoError, "file");
}

}  // namespace
}  // namespace molora
