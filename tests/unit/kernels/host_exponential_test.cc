// The exponential of the host kernels against the C library's in a wider type.
#include <cmath>
#include <cstring>
#include <limits>

#include <gtest/gtest.h>

#include "kernels/host/exponential.h"

namespace molora {
namespace {

// |value - exact| in units of the last place of `exact`, whose unit near zero is the smallest
// subnormal number.
template <typename Number, typename Exact>
Exact units_off(Number value, Exact exact) {
  using Limits = std::numeric_limits<Number>;
  const int exponent = std::max(std::ilogb(exact), Limits::min_exponent - 1);
  return std::abs(static_cast<Exact>(value) - exact) /
         std::ldexp(Exact{1}, exponent + 1 - Limits::digits);
}

TEST(HostExponential, IsWithinOneUnitInFp32) {
  double worst = 0.0;
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += 1009) {
    const auto word = static_cast<uint32_t>(bits);
    float x;
    std::memcpy(&x, &word, sizeof(x));
    if (!(x > -103.0f && x < 88.7f)) continue;
    worst = std::max(worst, units_off(exp_of_loop(x), std::exp(static_cast<double>(x))));
  }
  EXPECT_LT(worst, 1.0);
}

TEST(HostExponential, IsWithinTwoUnitsInFp64) {
  long double worst = 0.0;
  for (double x = -744.0; x < 709.7; x += 0.00073) {
    worst = std::max(worst, units_off(exp_of_loop(x), std::exp(static_cast<long double>(x))));
  }
  EXPECT_LT(worst, 2.0L);
}

template <typename Number>
class HostExponentialEnds : public ::testing::Test {};
using WideNumbers = ::testing::Types<float, double>;
TYPED_TEST_SUITE(HostExponentialEnds, WideNumbers);

TYPED_TEST(HostExponentialEnds, AreThoseOfTheCLibrary) {
  using Number = TypeParam;
  constexpr Number kInfinity = std::numeric_limits<Number>::infinity();
  for (const Number x : {kInfinity, -kInfinity, Number{0}, Number{-0.0}, Number{1e30},
                         Number{-1e30}, std::numeric_limits<Number>::denorm_min()}) {
    EXPECT_EQ(exp_of_loop(x), std::exp(x)) << x;
  }
  EXPECT_TRUE(std::isnan(exp_of_loop(std::numeric_limits<Number>::quiet_NaN())));
}

}  // namespace
}  // namespace molora
