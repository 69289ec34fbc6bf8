#include "parallel/shard.h"

#include <numeric>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

TEST(Shard, BalancedPartsCoverTheWholeAndDifferByAtMostOne) {
  for (int64_t total = 0; total <= 20; ++total) {
    for (int64_t parts = 1; parts <= 9; ++parts) {
      int64_t next = 0;
      for (int64_t i = 0; i < parts; ++i) {
        const Slice slice = balanced_slice(total, parts, i);
        EXPECT_EQ(slice.begin, next);
        EXPECT_GE(slice.length, total / parts);
        EXPECT_LE(slice.length, total / parts + 1);
        next = slice.end();
      }
      EXPECT_EQ(next, total);
      const auto lengths = balanced_lengths(total, parts);
      EXPECT_EQ(std::accumulate(lengths.begin(), lengths.end(), int64_t{0}), total);
    }
  }
}

TEST(Shard, EvenPartsMustDivide) {
  EXPECT_EQ(even_slice(12, 3, 2), (Slice{8, 4}));
  EXPECT_THROW_WITH(even_slice(10, 3, 0), InternalError, "10 in 3 parts");
}

TEST(Shard, KeyValueHeadsAreSharedOutOrHeldByNeighbours) {
  EXPECT_EQ(kv_head_slice(8, 4, 3), (Slice{6, 2}));
  EXPECT_EQ(kv_head_slice(2, 8, 3), (Slice{0, 1}));
  EXPECT_EQ(kv_head_slice(2, 8, 4), (Slice{1, 1}));
  EXPECT_THROW_WITH(kv_head_slice(2, 3, 0), InternalError, "2 key-value heads over 3 ranks");
}

}  // namespace
}  // namespace molora
