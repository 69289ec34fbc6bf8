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

void work_for(std::chrono::milliseconds time) {
  const auto begun = FlightRecord::Clock::now();
  while (FlightRecord::Clock::now() - begun < time) {
  }
}

TEST(FlightRecord, CountsTheTimeInsideCollectivesAlone) {
  FlightRecord record;
  EXPECT_EQ(record.waited_seconds(), 0.0);
  const auto begun = FlightRecord::Clock::now();
  record.enter(CollectiveKind::kBarrier, 0);
  work_for(std::chrono::milliseconds(20));
  record.leave();
  const std::chrono::duration<double> most = FlightRecord::Clock::now() - begun;
  const double first = record.waited_seconds();
  EXPECT_GE(first, 0.02);
  EXPECT_LE(first, most.count());
  work_for(std::chrono::milliseconds(5));
  EXPECT_EQ(record.waited_seconds(), first);
}

TEST(FlightRecord, WorkBesideAnExchangeIsNoWait) {
  FlightRecord record;
  record.enter(CollectiveKind::kAllToAll, 0);
  const auto begun = FlightRecord::Clock::now();
  work_for(std::chrono::milliseconds(20));
  const std::chrono::duration<double> worked = FlightRecord::Clock::now() - begun;
  record.resume();
  record.leave();
  const std::chrono::duration<double> all = FlightRecord::Clock::now() - begun;
  EXPECT_LE(record.waited_seconds(), all.count() - worked.count());
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
