#include "worker/synthetic_rows.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

SyntheticRows options() {
  return {
      .row_tokens = 101, .sequences_per_row = 3, .supervised = 0.5, .vocab_size = 50, .seed = 7};
}

TEST(SyntheticRows, HaveTheTokensOfARowInNearlyEqualSequences) {
  const std::vector<TrainRow> rows = synthetic_rows(options(), 4, 0);
  ASSERT_EQ(rows.size(), 4U);
  for (const TrainRow& row : rows) {
    ASSERT_EQ(row.size(), 3U);
    EXPECT_EQ(row[0].ids.size() + row[1].ids.size() + row[2].ids.size(), 101U);
    EXPECT_EQ(row[0].ids.size(), 33U);
    EXPECT_EQ(row[2].ids.size(), 34U);
  }
}

TEST(SyntheticRows, DrawIdsOfTheVocabulary) {
  for (const TrainRow& row : synthetic_rows(options(), 20, 3)) {
    for (const TrainSequence& sequence : row) {
      for (const int32_t id : sequence.ids) EXPECT_TRUE(id >= 0 && id < 50) << id;
    }
  }
}

TEST(SyntheticRows, SuperviseTheShare) {
  SyntheticRows all = options();
  all.supervised = 1.0;
  EXPECT_EQ(count_supervised(synthetic_rows(all, 1, 0)[0][0]), 32);
  int64_t count = 0;
  for (const TrainRow& row : synthetic_rows(options(), 50, 0)) {
    for (const TrainSequence& sequence : row) count += count_supervised(sequence);
  }
  EXPECT_NEAR(static_cast<double>(count) / (50 * 98), 0.5, 0.03);
  SyntheticRows none = options();
  none.supervised = 0.0;
  EXPECT_EQ(count_supervised(synthetic_rows(none, 1, 0)[0][0]), 1);
}

TEST(SyntheticRows, AreNewInEachStepAndTheSameAgain) {
  const auto ids = [](int64_t step) { return synthetic_rows(options(), 2, step)[1][1].ids; };
  EXPECT_EQ(ids(4), ids(4));
  EXPECT_NE(ids(4), ids(5));
  EXPECT_EQ(synthetic_rows(options(), 2, 1)[0][0].sample, 6);
}

TEST(SyntheticRows, NeedTwoTokensForASequence) {
  SyntheticRows too_many = options();
  too_many.sequences_per_row = 51;
  EXPECT_THROW_WITH(synthetic_rows(too_many, 1, 0), InternalError, "101 tokens in 51 sequences");
}

}  // namespace
}  // namespace molora
