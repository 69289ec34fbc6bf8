// The exponential of the loops: of infinities, numbers whose result is subnormal or overflows, and
// what is not a number it makes what the C library makes.
//
//   exp(x) = 2^n * exp(r), with n the nearest integer to x / ln 2; ln 2 in two parts, so that r is
//   almost exact; a polynomial of r; 2^n as a product of two powers, each of them a normal number
//
// Error: at most 1 unit in the last place in fp32, of all fp32 numbers, and 2 in fp64 (tested).
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/host/loop_code.h"

namespace molora {

// Adding it leaves the nearest integer in the low bits of the sum.
constexpr float kRounder32 = 12582912.0f;                // 1.5 * 2^23
constexpr double kRounder64 = 6755399441055744.0;        // 1.5 * 2^52
constexpr uint32_t kRounderBits32 = 0x4B400000;          // of kRounder32
constexpr uint64_t kRounderBits64 = 0x4338000000000000;  // of kRounder64

MOLORA_LOOP uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}
MOLORA_LOOP uint64_t bits_of(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}

// 2^n of the n in the low bits of n + kRounder. REQUIRES: 2^n is a normal number.
MOLORA_LOOP float power_of_two(float rounder_and_n) {
  const uint32_t bits = (bits_of(rounder_and_n) - kRounderBits32 + 127) << 23;
  float power;
  memcpy(&power, &bits, sizeof(power));
  return power;
}
MOLORA_LOOP double power_of_two(double rounder_and_n) {
  const uint64_t bits = (bits_of(rounder_and_n) - kRounderBits64 + 1023) << 52;
  double power;
  memcpy(&power, &bits, sizeof(power));
  return power;
}

template <typename Number>
MOLORA_LOOP Number between(Number value, Number low, Number high) {
  value = value < low ? low : value;
  return value > high ? high : value;
}

MOLORA_LOOP float exp_of_loop(float value) {
  const float x = between(value, -104.0f, 89.0f);
  const float n = (x * 1.44269504088896341f + kRounder32) - kRounder32;
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  // Coefficients of expf in S. Moshier's Cephes library.
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const float half = n * 0.5f + kRounder32;
  return p * power_of_two(half) * power_of_two((n - (half - kRounder32)) + kRounder32);
}

MOLORA_LOOP double exp_of_loop(double value) {
  const double x = between(value, -746.0, 710.0);
  const double n = (x * 1.44269504088896340736 + kRounder64) - kRounder64;
  const double r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
  double p = 1.0 / 6227020800.0;  // Taylor's series to r^13: |r| < 0.35
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * (r * r) + r + 1.0;
  const double half = n * 0.5 + kRounder64;
  return p * power_of_two(half) * power_of_two((n - (half - kRounder64)) + kRounder64);
}

}  // namespace molora
