// Runs the bodies of kernels (src/kernels/bodies) on the host, block after block.
//
// Shared memory is filled with 0xff bytes (a NaN in every float) and has its exact size; blocks and
// threads run in an order drawn from a seed. Bodies whose threads never meet run as plain loops.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>

#include "cuda/emulator/fiber_block.h"
#include "kernels/bodies/device_code.h"

namespace molora::testing {

// A thread that meets no other: it has nothing to meet with, so a body that says so is taken at its
// word by the compiler.
struct LoneThread {
  int index_in_block;
  int64_t block_in_grid;

  int index() const { return index_in_block; }
  int64_t block() const { return block_in_grid; }
  [[noreturn]] void fail() const {
    throw KernelFault("thread " + std::to_string(index_in_block) + " of block " +
                      std::to_string(block_in_grid) + " ends the program: a wrong argument");
  }
};

struct FiberThread {
  FiberBlock& fibers;
  int index_in_block;
  int64_t block_in_grid;

  int index() const { return index_in_block; }
  int64_t block() const { return block_in_grid; }
  void sync() const { fibers.sync(); }
  template <typename Number>
  Number shuffle_xor(Number value, int mask) const {
    static_assert(std::is_arithmetic_v<Number> && sizeof(Number) >= 4 && sizeof(Number) <= 8);
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(value));
    const uint64_t* given = fibers.exchange(bits, mask);
    const uint64_t other = given[(index_in_block % kWarpLanes) ^ mask];
    std::memcpy(&value, &other, sizeof(value));
    return value;
  }
  unsigned ballot(bool flag) const {
    constexpr int64_t kBallot = -1;  // no mask
    const uint64_t* given = fibers.exchange(flag ? 1 : 0, kBallot);
    unsigned all = 0;
    for (int lane = 0; lane < kWarpLanes; ++lane) all |= static_cast<unsigned>(given[lane]) << lane;
    return all;
  }
  [[noreturn]] void fail() const {
    fibers.fail("in block " + std::to_string(block_in_grid) +
                " ends the program: a wrong argument");
  }
};

// Which blocks run, in which order.
struct Blocks {
  int64_t begin = 0;
  int64_t end = 0;
  uint64_t seed = 0;
};

template <typename Body>
void emulate_block(const Body& body, int64_t block, uint64_t seed) {
  using Shared = typename Body::Shared;
  static_assert(std::is_trivially_copyable_v<Shared> && Body::kThreads % kWarpLanes == 0);
  const std::unique_ptr<Shared> shared(new Shared);
  std::memset(static_cast<void*>(shared.get()), 0xff, sizeof(Shared));
  if constexpr (Body::kMeetsThreads) {
    FiberBlock& fibers = fibers_of_thread(Body::kThreads);
    fibers.run([&](int i) { body(FiberThread{fibers, i, block}, *shared); }, seed);
  } else {
    for (const int64_t i : shuffled_order(Body::kThreads, seed)) {
      body(LoneThread{static_cast<int>(i), block}, *shared);
    }
  }
}

// These blocks of the body. Throws: KernelFault.
template <typename Body>
void emulate_blocks(const Body& body, const Blocks& blocks) {
  static_assert(std::is_trivially_copyable_v<Body>, "a launch copies the arguments by bytes");
  for (const int64_t block : shuffled_order(blocks.end - blocks.begin, blocks.seed)) {
    emulate_block(body, blocks.begin + block, blocks.seed);
  }
}

// The whole of it, as launch() does.
template <typename Body>
void emulate(const Body& body, uint64_t seed = 0) {
  emulate_blocks(body, {0, body.num_blocks(), seed});
}

}  // namespace molora::testing
