// Numbers of the kernels: bf16 and the types that arithmetic runs in.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/bodies/device_code.h"

namespace molora {

// The upper half of a float. Rounds to the nearest, ties to even, as LibTorch does.
struct BFloat16 {
  uint16_t bits;
};

// What is added and multiplied in: float for bf16 and float, double for double.
template <typename Number>
struct WideNumber {
  using Type = Number;
};
template <>
struct WideNumber<BFloat16> {
  using Type = float;
};
template <typename Number>
using Wide = typename WideNumber<Number>::Type;

MOLORA_HOST_DEVICE float to_wide(float value) { return value; }
MOLORA_HOST_DEVICE double to_wide(double value) { return value; }
MOLORA_HOST_DEVICE float to_wide(BFloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float wide;
  memcpy(&wide, &bits, sizeof(wide));
  return wide;
}

template <typename Number>
MOLORA_HOST_DEVICE Number round_to(Wide<Number> value) {
  return value;
}
template <>
MOLORA_HOST_DEVICE BFloat16 round_to<BFloat16>(float value) {
  if (value != value) return {0x7FC0};
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return {static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)};
}

MOLORA_DEVICE float exp_of(float value) { return expf(value); }
MOLORA_DEVICE double exp_of(double value) { return exp(value); }
MOLORA_DEVICE float sqrt_of(float value) { return sqrtf(value); }
MOLORA_DEVICE double sqrt_of(double value) { return sqrt(value); }
MOLORA_DEVICE float inverse_sqrt(float value) { return 1.0f / sqrtf(value); }
MOLORA_DEVICE double inverse_sqrt(double value) { return 1.0 / sqrt(value); }

// Neighbouring numbers that are loaded and stored at once.
template <typename Number, int kCount>
struct alignas(sizeof(Number) * kCount) Pack {
  Number values[size_t{kCount}];
};
// As many as a thread can load at once: 16 bytes.
template <typename Number>
constexpr int kWidestPack = 16 / static_cast<int>(sizeof(Number));

// Whether rows of `columns` numbers from `data` on can be read in packs of kCount.
template <int kCount, typename Number>
bool fits_packs(const Number* data, int64_t columns) {
  return columns % kCount == 0 &&
         reinterpret_cast<uintptr_t>(data) % (sizeof(Number) * kCount) == 0;
}

}  // namespace molora
