#include "parallel/replica_audit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/audited_replicas.h"

namespace molora {
namespace {

using ::testing::Each;
using ::testing::EndsWith;
using ::testing::StartsWith;

TEST(ReplicaAudit, EqualReplicasAreEqual) { EXPECT_THAT(testing::audit({}), Each("")); }

TEST(ReplicaAudit, AFlippedBitIsFoundInEveryGroupAndToldToEveryRank) {
  EXPECT_EQ(testing::audit_fault(), "");
}

TEST(ReplicaAudit, TheFirstDifferenceIsNamedAndTheOthersCounted) {
  const auto found = testing::audit({{"whole.too", 1}, {"whole", 3}});
  EXPECT_THAT(found, Each(found[0]));
  EXPECT_THAT(found[0], StartsWith("whole: "));
  EXPECT_THAT(found[0], ::testing::HasSubstr("rank 3 holds "));
  EXPECT_THAT(found[0], EndsWith("(2 parameters differ in this all group)"));
}

// Rank 0 is no member of the group that differs.
TEST(ReplicaAudit, RanksOfOtherGroupsAreToldToo) {
  const auto found = testing::audit({{"columns", 7}});
  EXPECT_THAT(found, Each(found[0]));
  EXPECT_THAT(found[0], ::testing::HasSubstr("rank 3 holds "));
}

}  // namespace
}  // namespace molora
