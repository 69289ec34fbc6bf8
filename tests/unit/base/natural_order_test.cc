#include "base/natural_order.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace molora {
namespace {

TEST(NaturalOrder, NumbersInNamesCompareAsNumbers) {
  std::vector<std::string> names = {"layers.10.a", "layers.2.b", "x",  "layers.2.a", "layers",
                                    "layers.02.a", "",           "10", "9"};
  std::sort(names.begin(), names.end(),
            [](const std::string& a, const std::string& b) { return natural_less(a, b); });
  EXPECT_THAT(names, ::testing::ElementsAre("", "9", "10", "layers", "layers.02.a", "layers.2.a",
                                            "layers.2.b", "layers.10.a", "x"));
}

TEST(NaturalOrder, IsStrictAndTellsDifferentNamesApart) {
  const std::vector<std::string> names = {"a1", "a01", "a001b", "a1b", "a", "1", "01", "a-1", "0"};
  for (const std::string& a : names) {
    EXPECT_FALSE(natural_less(a, a)) << a;
    for (const std::string& b : names) {
      EXPECT_EQ(a != b, natural_less(a, b) != natural_less(b, a)) << a << " " << b;
      for (const std::string& c : names) {
        if (natural_less(a, b) && natural_less(b, c)) {
          EXPECT_TRUE(natural_less(a, c)) << a << " " << b << " " << c;
        }
      }
    }
  }
}

TEST(NaturalOrder, LongNumbersDoNotOverflow) {
  EXPECT_TRUE(natural_less("99999999999999999999998", "99999999999999999999999"));
  EXPECT_TRUE(natural_less("9", "10000000000000000000000000"));
}

}  // namespace
}  // namespace molora
