// Vectors of numbers for the inner products of grouped experts: fp32, fp64, and bf16 that is
// computed in fp32. The file that includes this says before by MOLORA_VECTOR_BYTES how wide a
// vector is (default: 16, which every machine has or imitates).
#pragma once

#include <cstddef>
#include <cstdint>

#ifndef MOLORA_VECTOR_BYTES
#define MOLORA_VECTOR_BYTES 16
#endif

namespace molora {
namespace {

constexpr int64_t kVectorBytes = MOLORA_VECTOR_BYTES;

struct Bf16 {
  uint16_t bits;
};

using Floats = float __attribute__((vector_size(kVectorBytes)));
using Doubles = double __attribute__((vector_size(kVectorBytes)));
using Words = uint32_t __attribute__((vector_size(kVectorBytes)));
using HalfWords = uint16_t __attribute__((vector_size(kVectorBytes / 2)));

// What is computed in, for each type of rows.
template <typename Number>
struct Computing {
  using Wide = float;
  using Vector = Floats;
};
template <>
struct Computing<double> {
  using Wide = double;
  using Vector = Doubles;
};
template <typename Number>
using Wide = typename Computing<Number>::Wide;
template <typename Number>
using Vector = typename Computing<Number>::Vector;
template <typename Number>
constexpr int64_t kLanes = kVectorBytes / static_cast<int64_t>(sizeof(Wide<Number>));

inline float widen(Bf16 value) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(value.bits) << 16);
}
inline float widen(float value) { return value; }
inline double widen(double value) { return value; }

// Nearest, ties to even; what is not a number stays so.
inline void narrow(float value, Bf16* to) {
  const auto bits = __builtin_bit_cast(uint32_t, value);
  const uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  to->bits = static_cast<uint16_t>(value == value ? rounded : (bits >> 16) | 0x40U);
}
inline void narrow(float value, float* to) { *to = value; }
inline void narrow(double value, double* to) { *to = value; }

inline Floats load(const float* from) {
  Floats vector;
  __builtin_memcpy(&vector, from, kVectorBytes);
  return vector;
}
inline Doubles load(const double* from) {
  Doubles vector;
  __builtin_memcpy(&vector, from, kVectorBytes);
  return vector;
}
inline Floats load(const Bf16* from) {
  HalfWords halves;
  __builtin_memcpy(&halves, from, kVectorBytes / 2);
  return reinterpret_cast<Floats>(__builtin_convertvector(halves, Words) << 16);
}

inline void store(Floats vector, float* to) { __builtin_memcpy(to, &vector, kVectorBytes); }
inline void store(Doubles vector, double* to) { __builtin_memcpy(to, &vector, kVectorBytes); }
inline void store(Floats vector, Bf16* to) {
  const auto bits = reinterpret_cast<Words>(vector);
  const Words rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  const auto is_number = reinterpret_cast<Words>(vector == vector);
  const Words chosen = (rounded & is_number) | (((bits >> 16) | 0x40U) & ~is_number);
  const HalfWords halves = __builtin_convertvector(chosen, HalfWords);
  __builtin_memcpy(to, &halves, kVectorBytes / 2);
}

// Asks for the cache lines of so many vectors.
template <typename Number, int64_t kVectors>
inline void prefetch(const Number* from) {
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(Number));
#pragma GCC unroll 8
  for (int64_t i = 0; i < kVectors * kLanes<Number>; i += kLine) __builtin_prefetch(from + i);
}

// By halves, so that the order is that of a tree.
template <typename Number>
inline Wide<Number> sum_lanes(Vector<Number> vector) {
  Wide<Number> lanes[kLanes<Number>];
  __builtin_memcpy(lanes, &vector, kVectorBytes);
#pragma GCC unroll 8
  for (int64_t half = kLanes<Number> / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (int64_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

}  // namespace
}  // namespace molora
