#include "train/step_feeder.h"

#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

// Ten samples of sample + 2 tokens, one a row, in another order each epoch.
RowSource ten_samples() {
  RowSource source;
  source.num_samples = 10;
  source.plan = [](int64_t epoch) {
    std::vector<std::vector<uint32_t>> rows;
    for (uint32_t i = 0; i < 10; ++i) rows.push_back({(i * 3 + static_cast<uint32_t>(epoch)) % 10});
    return rows;
  };
  source.fetch = [](uint32_t sample) {
    return TrainSequence{std::vector<int32_t>(sample + 2, static_cast<int32_t>(sample)),
                         std::vector<uint8_t>(sample + 2, 1)};
  };
  return source;
}

std::vector<int64_t> samples_of(const StepInput& input) {
  std::vector<int64_t> samples;
  for (const TrainRow& row : input.rows.rows) {
    for (const TrainSequence& sequence : row) samples.push_back(sequence.sample);
  }
  return samples;
}

// What a feeder gives for some steps, asked for ahead or not.
struct Fed {
  std::vector<std::vector<int64_t>> samples;
  std::vector<RowPosition> positions;
  std::vector<at::Tensor> ids;
  bool operator==(const Fed& other) const {
    if (samples != other.samples || positions != other.positions) return false;
    return at::cat(ids).equal(at::cat(other.ids));
  }
};

enum class Ahead { kNever, kAlways };

Fed feed(Ahead ahead, RowPosition position = {}) {
  RowFeeder rows(ten_samples(), 4);
  StepFeeder feeder(rows, {.dp_rank = 1, .dp = 2, .micro_batch_size = 1, .end = {}});
  Fed fed;
  for (int step = 0; step < 8; ++step) {
    const StepInput input = feeder.take(position);
    if (ahead == Ahead::kAlways) feeder.make_ahead(position);
    fed.samples.push_back(samples_of(input));
    fed.positions.push_back(position);
    for (const MicroBatch& batch : input.batches) fed.ids.push_back(batch.tokens.ids_T);
  }
  return fed;
}

TEST(StepFeeder, WhatIsMadeAheadIsWhatWouldBeMadeLater) {
  const Fed later = feed(Ahead::kNever);
  EXPECT_TRUE(feed(Ahead::kAlways) == later);
  EXPECT_TRUE(feed(Ahead::kAlways, {3, 7}) == feed(Ahead::kNever, {3, 7}));
  std::multiset<int64_t> once;
  for (const auto& samples : later.samples) once.insert(samples.begin(), samples.end());
  EXPECT_EQ(once.size(), 16U);  // every second row of eight steps of four
}

TEST(StepFeeder, BatchesAreTheRowsOfThisRank) {
  RowFeeder rows(ten_samples(), 4);
  StepFeeder feeder(rows, {.dp_rank = 0, .dp = 1, .micro_batch_size = 3, .end = {}});
  RowPosition position;
  const StepInput input = feeder.take(position);
  ASSERT_EQ(input.batches.size(), 2U);
  EXPECT_EQ(input.rows.num_micro_steps, 2);
  EXPECT_EQ(input.batches[0].tokens.num_sequences(), 3);
  EXPECT_EQ(input.batches[1].tokens.num_sequences(), 1);
  EXPECT_EQ(input.batches[1].tokens.samples_T[0].item<int64_t>(), 9);
}

TEST(StepFeeder, TakesFromAnyPositionWhateverWasMadeAhead) {
  RowFeeder rows(ten_samples(), 4);
  StepFeeder feeder(rows, {.dp_rank = 0, .dp = 1, .micro_batch_size = 4, .end = {}});
  RowPosition position;
  (void)feeder.take(position);
  feeder.make_ahead(position);
  RowPosition elsewhere{2, 5};
  RowFeeder others(ten_samples(), 4);
  StepFeeder other(others, {.dp_rank = 0, .dp = 1, .micro_batch_size = 4, .end = {}});
  RowPosition same = elsewhere;
  EXPECT_EQ(samples_of(feeder.take(elsewhere)), samples_of(other.take(same)));
  EXPECT_EQ(elsewhere, same);
}

TEST(StepFeeder, WhatIsNeverTakenMovesNothing) {
  RowFeeder rows(ten_samples(), 4);
  RowPosition position{1, 2};
  {
    StepFeeder feeder(rows, {.dp_rank = 0, .dp = 1, .micro_batch_size = 4, .end = {}});
    feeder.make_ahead(position);
  }
  EXPECT_EQ(position, (RowPosition{1, 2}));
  EXPECT_EQ(rows.take(position, {}).size(), 4U);
  EXPECT_EQ(position, (RowPosition{1, 6}));
}

// The failure of step 3's rows is that of step 3, with type and words.
TEST(StepFeeder, AFailureComesInTheStepThatNeedsTheRows) {
  RowSource source = ten_samples();
  source.fetch = [fetch = source.fetch, count = 0](uint32_t sample) mutable {
    if (++count > 8) throw DataError("sample " + std::to_string(sample) + " cannot be read");
    return fetch(sample);
  };
  RowFeeder rows(std::move(source), 4);
  StepFeeder feeder(rows, {.dp_rank = 0, .dp = 1, .micro_batch_size = 4, .end = {}});
  RowPosition position;
  for (int step = 0; step < 2; ++step) {
    EXPECT_EQ(feeder.take(position).rows.rows.size(), 4U);
    feeder.make_ahead(position);
  }
  const RowPosition before = position;
  EXPECT_THROW_WITH((void)feeder.take(position), DataError, "sample 4 cannot be read");
  EXPECT_EQ(position, before);
}

}  // namespace
}  // namespace molora
