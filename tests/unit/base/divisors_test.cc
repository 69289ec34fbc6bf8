#include "base/divisors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace molora {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Divisors, AreAllAndAscending) {
  EXPECT_THAT(divisors(1), ElementsAre(1));
  EXPECT_THAT(divisors(7), ElementsAre(1, 7));
  EXPECT_THAT(divisors(36), ElementsAre(1, 2, 3, 4, 6, 9, 12, 18, 36));
}

TEST(Divisors, AreNotAskedOfNothing) {
  EXPECT_THAT([] { (void)divisors(0); },
              testing::ThrowsMessage<InternalError>(HasSubstr("divisors of 0")));
}

TEST(Alternatives, ReadAsASentence) {
  EXPECT_EQ(alternatives({1}), "1");
  EXPECT_EQ(alternatives({1, 2}), "1 or 2");
  EXPECT_EQ(alternatives({1, 2, 4}), "1, 2 or 4");
}

}  // namespace
}  // namespace molora
