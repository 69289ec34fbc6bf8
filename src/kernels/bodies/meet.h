// Sums over neighbouring threads, in an order that depends on nothing but their number.
#pragma once

#include <cstddef>

#include "kernels/bodies/device_code.h"

namespace molora {

// The sum over the `lanes` (a power of two up to 32) neighbouring lanes that this thread is one of,
// the same bits in each of them. All lanes of the warp take part.
template <typename Thread, typename Number>
MOLORA_DEVICE Number sum_over_lanes(const Thread& thread, Number value, int lanes) {
  for (int mask = lanes / 2; mask > 0; mask /= 2) value += thread.shuffle_xor(value, mask);
  return value;
}

// The largest; one that is not a number is never the largest.
template <typename Thread, typename Number>
MOLORA_DEVICE Number largest_over_lanes(const Thread& thread, Number value, int lanes) {
  for (int mask = lanes / 2; mask > 0; mask /= 2) {
    const Number other = thread.shuffle_xor(value, mask);
    value = other > value ? other : value;
  }
  return value;
}

// A place for the sums of the warps of one block.
template <typename Number, int kThreads>
struct WarpSums {
  Number of_warp[size_t{kThreads} / kWarpLanes];
};

// The sum over all kThreads threads of the block, the same bits in each of them. For one use of
// `sums` per kernel. All threads of the block take part.
template <int kThreads, typename Thread, typename Number>
MOLORA_DEVICE Number sum_over_block(const Thread& thread, Number value,
                                    WarpSums<Number, kThreads>& sums) {
  value = sum_over_lanes(thread, value, kWarpLanes);
  if (thread.index() % kWarpLanes == 0) sums.of_warp[thread.index() / kWarpLanes] = value;
  thread.sync();
  Number total = 0;
  for (int warp = 0; warp < kThreads / kWarpLanes; ++warp) total += sums.of_warp[warp];
  return total;
}

}  // namespace molora
