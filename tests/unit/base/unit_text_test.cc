#include "base/unit_text.h"

#include <gtest/gtest.h>

namespace molora {
namespace {

TEST(UnitText, HasThreeDigitsAndTheLargestUnitThatFits) {
  EXPECT_EQ(bytes_text(12), "12.0 B");
  EXPECT_EQ(bytes_text(1536), "1.50 KiB");
  EXPECT_EQ(bytes_text(330.4 * (1 << 30)), "330 GiB");
  EXPECT_EQ(bytes_text(5e15), "4.44 PiB");
  EXPECT_EQ(bytes_text(5e21), "4337 EiB");
  EXPECT_EQ(flops_text(12e6), "12.0 MFLOP");
  EXPECT_EQ(flops_text(1.514e15), "1.51 PFLOP");
  EXPECT_EQ(flops_text(12), "12.0 FLOP");
  EXPECT_EQ(seconds_text(1), "1.00 s");
  EXPECT_EQ(seconds_text(0.3512), "351 ms");
  EXPECT_EQ(seconds_text(5.88e-6), "5.88 us");
}

TEST(UnitText, SaysNothingAsZeroAndLittleInTheSmallestUnit) {
  EXPECT_EQ(bytes_text(0), "0");
  EXPECT_EQ(bytes_text(0.25), "0.25 B");
  EXPECT_EQ(seconds_text(2e-8), "0.02 us");
}

TEST(UnitText, RoundsToTheDigitsThatItShows) {
  EXPECT_EQ(bytes_text(9.996), "10.0 B");
  EXPECT_EQ(bytes_text(9.994), "9.99 B");
  EXPECT_EQ(bytes_text(99.96), "100 B");
}

TEST(GroupedDigits, AreInThrees) {
  EXPECT_EQ(grouped_digits(0), "0");
  EXPECT_EQ(grouped_digits(999), "999");
  EXPECT_EQ(grouped_digits(1000), "1,000");
  EXPECT_EQ(grouped_digits(1234567), "1,234,567");
  EXPECT_EQ(grouped_digits(-123456), "-123,456");
}

}  // namespace
}  // namespace molora
