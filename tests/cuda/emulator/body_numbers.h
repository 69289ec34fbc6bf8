// Numbers for the tests of bodies: inputs that are the same everywhere, and comparisons.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/bodies/number.h"

namespace molora::testing {

// Sizes at which things go wrong: none, one, around a warp and a block, primes.
inline constexpr int64_t kEdgeSizes[] = {0, 1, 31, 32, 33, 127, 129, 255, 257};

// `count` numbers in [-2, 2), multiples of `grain` before they are rounded to the type. With the
// finest grain their sums depend on the order; with a coarse one many are equal.
template <typename Number>
std::vector<Number> some_numbers(int64_t count, uint32_t seed, double grain = 1.0 / (1 << 30)) {
  std::vector<Number> numbers;
  uint32_t state = seed * 2654435761u + 12345u;
  for (int64_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    const double value = state / 1073741824.0 - 2.0;
    numbers.push_back(
        round_to<Number>(static_cast<Wide<Number>>(std::floor(value / grain) * grain)));
  }
  return numbers;
}

template <typename Number>
std::vector<double> as_doubles(const std::vector<Number>& numbers) {
  std::vector<double> wide;
  for (const Number& number : numbers) wide.push_back(static_cast<double>(to_wide(number)));
  return wide;
}

// The rounding of a few operations in this type, relative.
template <typename Number>
double rounding() {
  if constexpr (sizeof(Number) == 2) return 1.0 / 128;
  return sizeof(Number) == 4 ? 4e-6 : 1e-14;
}

// Numbers that are the same to `tolerance`, relative to 1 or to themselves; NaN equals NaN.
template <typename Number>
void expect_near(const std::vector<Number>& actual, const std::vector<double>& expected,
                 double tolerance = rounding<Number>()) {
  const std::vector<double> values = as_doubles(actual);
  ASSERT_EQ(values.size(), expected.size());
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(expected[i])) {
      ASSERT_TRUE(std::isnan(values[i])) << "at " << i << ": " << values[i];
    } else {
      ASSERT_NEAR(values[i], expected[i], tolerance * std::max(1.0, std::abs(expected[i])))
          << "at " << i;
    }
  }
}

}  // namespace molora::testing
