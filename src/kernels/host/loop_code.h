// What the loops of the host kernels are written in: plain C++ that g++ turns into vector
// instructions, compiled once for each instruction set (instruction_set.h).
//
// A loop is a struct of arguments (pointers, sizes) with
//   operator()(begin, end)   the work of rows begin ... end-1, which no other call touches
// All of it is inlined into the one function of an instruction set that runs a loop: what is left
// for the linker to merge would be merged with the same function of another set, which this CPU may
// not have. For that reason loops call nothing of the standard library. tests/lint/check_loops.py
// reads the objects.
//
// Results are the same for every number of threads and every instruction set: a row is summed by
// kSumLanes partial sums and these in a fixed tree, whatever the width of the registers, and a
// product is rounded before it is added (-ffp-contract=off).
#pragma once

#include <cstdint>

#include "kernels/bodies/number.h"

#define MOLORA_LOOP inline __attribute__((always_inline))
// Before a loop whose iterations do not meet in memory, though pointers may be equal.
#define MOLORA_INDEPENDENT _Pragma("GCC ivdep")

namespace molora {

MOLORA_LOOP float square_root(float value) { return __builtin_sqrtf(value); }
MOLORA_LOOP double square_root(double value) { return __builtin_sqrt(value); }

constexpr int kSumLanes = 16;

template <typename Number>
MOLORA_LOOP Number sum_lanes(Number* lanes) {
  for (int width = kSumLanes / 2; width > 0; width /= 2) {
    for (int lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  }
  return lanes[0];
}

// value_at(0) + ... + value_at(count - 1).
template <typename Number, typename ValueAt>
MOLORA_LOOP Number sum_of(int64_t count, const ValueAt& value_at) {
  Number lanes[kSumLanes] = {};
  int64_t i = 0;
  for (; i + kSumLanes <= count; i += kSumLanes) {
    for (int lane = 0; lane < kSumLanes; ++lane) lanes[lane] += value_at(i + lane);
  }
  for (int lane = 0; i + lane < count; ++lane) lanes[lane] += value_at(i + lane);
  return sum_lanes(lanes);
}

// A whole number that is the larger the larger the value is, and largest for what is not a number:
// g++ makes vector instructions of the maximum of whole numbers alone.
MOLORA_LOOP int32_t order_of(float value) {
  int32_t bits;
  __builtin_memcpy(&bits, &value, sizeof(bits));
  const int32_t magnitude = bits & 0x7FFFFFFF;
  const int32_t order = bits < 0 ? -magnitude : magnitude;
  return magnitude > 0x7F800000 ? 0x7FFFFFFF : order;
}
MOLORA_LOOP int64_t order_of(double value) {
  int64_t bits;
  __builtin_memcpy(&bits, &value, sizeof(bits));
  const int64_t magnitude = bits & 0x7FFFFFFFFFFFFFFF;
  const int64_t order = bits < 0 ? -magnitude : magnitude;
  return magnitude > 0x7FF0000000000000 ? 0x7FFFFFFFFFFFFFFF : order;
}
MOLORA_LOOP float value_of_order(int32_t order) {
  const int32_t bits = order < 0 ? (-order) | static_cast<int32_t>(0x80000000) : order;
  float value;
  __builtin_memcpy(&value, &bits, sizeof(value));
  return value;
}
MOLORA_LOOP double value_of_order(int64_t order) {
  const int64_t bits = order < 0 ? (-order) | static_cast<int64_t>(0x8000000000000000) : order;
  double value;
  __builtin_memcpy(&value, &bits, sizeof(value));
  return value;
}

// The largest of value_at(0) ... value_at(count - 1), what is not a number before all others;
// -infinity of none.
template <typename Number, typename ValueAt>
MOLORA_LOOP Number largest_of(int64_t count, const ValueAt& value_at) {
  auto largest = order_of(-static_cast<Number>(INFINITY));
  for (int64_t i = 0; i < count; ++i) {
    const auto order = order_of(static_cast<Number>(value_at(i)));
    largest = order > largest ? order : largest;
  }
  return value_of_order(largest);
}

}  // namespace molora
