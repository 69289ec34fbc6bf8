#include "launcher/plan/spread_ranks.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

using Hosts = std::vector<Host>;

TEST(SpreadRanks, PlacesGroupsWholeWhereTheyFitAndSinglyWhereNot) {
  EXPECT_EQ(spread_ranks(4, 2, {{"a", 3}, {"b", 3}}), (Hosts{{"a", 2}, {"b", 2}}));
  EXPECT_EQ(spread_ranks(6, 2, {{"a", 3}, {"b", 3}}), (Hosts{{"a", 3}, {"b", 3}}));
  EXPECT_EQ(spread_ranks(3, 2, {{"a", 4}, {"b", 4}}), (Hosts{{"a", 2}, {"b", 1}}));
}

TEST(SpreadRanks, SaysWhenThereIsNoRoom) {
  EXPECT_FALSE(spread_ranks(7, 1, {{"a", 3}, {"b", 3}}));
  EXPECT_FALSE(spread_ranks(1, 1, {}));
  EXPECT_THROW_WITH((void)spread_ranks(0, 1, {{"a", 3}}), InternalError, "0 ranks in groups of 1");
}

}  // namespace
}  // namespace molora
