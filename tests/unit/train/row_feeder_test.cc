#include "train/row_feeder.h"

#include <set>

#include <gtest/gtest.h>

namespace molora {
namespace {

// Seven samples of sample + 2 tokens; epoch e has rows of one or two samples, begun at sample e.
RowSource seven_samples() {
  RowSource source;
  source.num_samples = 7;
  source.plan = [](int64_t epoch) {
    std::vector<std::vector<uint32_t>> rows;
    for (uint32_t i = 0; i < 7; i += 2) {
      const auto shift = static_cast<uint32_t>(epoch);
      rows.push_back({(i + shift) % 7});
      if (i + 1 < 7) rows.back().push_back((i + 1 + shift) % 7);
    }
    return rows;
  };
  source.fetch = [](uint32_t sample) {
    return TrainSequence{std::vector<int32_t>(sample + 2, 1), std::vector<uint8_t>(sample + 2, 1)};
  };
  return source;
}

std::vector<int64_t> samples_of(const std::vector<TrainRow>& rows) {
  std::vector<int64_t> samples;
  for (const TrainRow& row : rows) {
    for (const TrainSequence& sequence : row) samples.push_back(sequence.sample);
  }
  return samples;
}

TEST(RowFeeder, EverySampleComesOnceAnEpoch) {
  for (const int64_t rows_per_step : {1, 3, 4, 5, 100}) {
    RowFeeder feeder(seven_samples(), rows_per_step);
    const RowFeeder::RunLength length = feeder.length_of(3, {}, 0);
    RowPosition position;
    std::multiset<int64_t> seen;
    int64_t steps = 0;
    while (position < length.end) {
      const auto rows = feeder.take(position, length.end);
      EXPECT_LE(static_cast<int64_t>(rows.size()), rows_per_step);
      for (const int64_t sample : samples_of(rows)) seen.insert(sample);
      ++steps;
    }
    EXPECT_EQ(steps, length.num_steps);
    EXPECT_EQ(seen.size(), 21u);
    for (int64_t sample = 0; sample < 21; ++sample) EXPECT_EQ(seen.count(sample), 1u);
  }
}

TEST(RowFeeder, AStepGoesOnIntoTheNextEpoch) {
  RowFeeder feeder(seven_samples(), 3);
  RowPosition position{0, 2};
  EXPECT_EQ(samples_of(feeder.take(position, {})), (std::vector<int64_t>{4, 5, 6, 8, 9}));
  EXPECT_EQ(position, (RowPosition{1, 1}));
}

TEST(RowFeeder, GoesOnFromAnyPosition) {
  RowFeeder whole(seven_samples(), 3);
  RowPosition position;
  std::vector<std::vector<int64_t>> steps;
  std::vector<RowPosition> positions;
  for (int i = 0; i < 6; ++i) {
    positions.push_back(position);
    steps.push_back(samples_of(whole.take(position, {})));
  }
  for (size_t i = 0; i < 6; ++i) {
    RowFeeder resumed(seven_samples(), 3);
    EXPECT_EQ(samples_of(resumed.take(positions[i], {})), steps[i]) << "step " << i;
  }
}

TEST(RowFeeder, APartOfAnEpochEndsWithinItsRows) {
  RowFeeder feeder(seven_samples(), 3);
  const RowFeeder::RunLength half = feeder.length_of(1.5, {}, 0);
  EXPECT_EQ(half.end, (RowPosition{1, 2}));
  EXPECT_EQ(half.num_steps, 2);
  EXPECT_EQ(feeder.length_of(0.01, {}, 0).num_steps, 1);
}

TEST(RowFeeder, AResumedRunCountsTheRowsThatAreLeft) {
  RowFeeder feeder(seven_samples(), 2);
  EXPECT_EQ(feeder.length_of(2, {}, 0).num_steps, 4);
  EXPECT_EQ(feeder.length_of(2, {1, 1}, 5).num_steps, 5 + 2);
  EXPECT_EQ(feeder.length_of(2, {2, 0}, 5).num_steps, 5);
}

TEST(RowFeeder, APositionBeyondItsEpochGoesOnWithTheNextOne) {
  // Rows 0 to 3 exist: the data have shrunk since the position was saved.
  RowFeeder feeder(seven_samples(), 2);
  RowPosition position{1, 9};
  EXPECT_EQ(feeder.length_of(3, position, 5).num_steps, 5 + 2);
  EXPECT_EQ(samples_of(feeder.take(position, {})), (std::vector<int64_t>{16, 17, 18, 19}));
  EXPECT_EQ(position, (RowPosition{2, 2}));
}

}  // namespace
}  // namespace molora
