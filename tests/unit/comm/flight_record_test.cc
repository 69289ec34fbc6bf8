#include "comm/flight_record.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace molora {
namespace {

TEST(FlightRecord, NumbersAndCountsWhatPassed) {
  FlightRecord record;
  EXPECT_EQ(record.enter(CollectiveKind::kAllGather, 10), 1u);
  record.leave();
  EXPECT_EQ(record.enter(CollectiveKind::kAllToAll, 5), 2u);
  record.leave();
  EXPECT_EQ(record.bytes_sent(CollectiveKind::kAllGather), 10u);
  EXPECT_EQ(record.total_bytes_sent(), 15u);
}

TEST(FlightRecord, KeepsTheNewestInOrder) {
  FlightRecord record;
  for (int i = 0; i < 300; ++i) {
    record.enter(CollectiveKind::kBarrier, 0);
    record.leave();
  }
  const auto entries = record.entries();
  ASSERT_EQ(entries.size(), FlightRecord::kCapacity);
  EXPECT_EQ(entries.front().sequence, 300 - FlightRecord::kCapacity + 1);
  EXPECT_EQ(entries.back().sequence, 300u);
}

TEST(FlightRecord, SummaryMarksTheUnfinishedOne) {
  FlightRecord record;
  EXPECT_EQ(record.summary(3), "no collective yet");
  record.enter(CollectiveKind::kBarrier, 0);
  record.leave();
  record.enter(CollectiveKind::kBroadcast, 7);
  EXPECT_EQ(record.summary(3), "#1 barrier 0 bytes, #2 broadcast 7 bytes (not finished)");
}

TEST(FlightRecord, LeavingTwiceIsAFault) {
  FlightRecord record;
  EXPECT_THROW(record.leave(), InternalError);
  record.enter(CollectiveKind::kBarrier, 0);
  record.leave();
  EXPECT_THROW(record.leave(), InternalError);
}

}  // namespace
}  // namespace molora
