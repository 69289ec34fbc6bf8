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

// What is not a number is the largest.
template <typename Number>
MOLORA_LOOP Number larger(Number a, Number b) {
  return b > a || b != b ? b : a;
}

// The largest of value_at(0) ... value_at(count - 1); -infinity of none.
template <typename Number, typename ValueAt>
MOLORA_LOOP Number largest_of(int64_t count, const ValueAt& value_at) {
  Number lanes[kSumLanes];
  for (Number& lane : lanes) lane = -INFINITY;
  int64_t i = 0;
  for (; i + kSumLanes <= count; i += kSumLanes) {
    for (int lane = 0; lane < kSumLanes; ++lane)
      lanes[lane] = larger(lanes[lane], value_at(i + lane));
  }
  Number largest = -INFINITY;
  for (; i < count; ++i) largest = larger(largest, value_at(i));
  for (const Number lane : lanes) largest = larger(largest, lane);
  return largest;
}

}  // namespace molora
