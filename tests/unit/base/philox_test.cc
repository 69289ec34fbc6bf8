#include "base/philox.h"

#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace molora {
namespace {

// Known answers published with Random123 (kat_vectors, philox4x32 with 10 rounds).
TEST(Philox, EqualsThePublishedKnownAnswers) {
  EXPECT_EQ(philox_4x32_10(0, {0, 0, 0, 0}),
            (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox_4x32_10(~uint64_t{0}, {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}),
            (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox_4x32_10((uint64_t{0x299f31d0} << 32) | 0xa4093822,
                           {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, KeysOfDifferentStreamsDiffer) {
  std::set<uint64_t> keys;
  for (uint64_t seed = 0; seed < 3; ++seed) {
    for (const auto purpose : {RandomPurpose::kAdapterInit, RandomPurpose::kDropout}) {
      for (const char* name : {"", "layers.0", "layers.1"}) {
        for (uint64_t index = 0; index < 5; ++index) {
          keys.insert(philox_key(seed, purpose, name, index));
        }
      }
    }
  }
  EXPECT_EQ(keys.size(), 3u * 2u * 3u * 5u);
}

TEST(Philox, BelowIsInRangeAndCoversIt) {
  std::vector<int> counts(7);
  for (uint64_t i = 0; i < 7000; ++i) ++counts.at(philox_below(42, i, 7));
  for (const int count : counts) EXPECT_NEAR(count, 1000, 150);
}

TEST(Philox, BelowAcceptsTheLargestBound) {
  EXPECT_NO_THROW((void)philox_below(1, 2, uint64_t{1} << 32));
  EXPECT_EQ(philox_below(1, 2, 1), 0u);
}

TEST(Philox, UnitIsBelowOne) {
  EXPECT_LT(philox_unit(0xffffffff), 1.0);
  EXPECT_EQ(philox_unit(0), 0.0);
}

}  // namespace
}  // namespace molora
