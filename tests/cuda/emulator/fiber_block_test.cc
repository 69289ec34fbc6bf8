#include "cuda/emulator/fiber_block.h"

#include <algorithm>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cuda/emulator/emulate.h"
#include "kernels/bodies/meet.h"

namespace molora::testing {
namespace {

using ::testing::HasSubstr;

template <typename Work>
std::string fault_of(const Work& work) {
  try {
    work();
  } catch (const KernelFault& fault) {
    return fault.what();
  }
  return "no fault";
}

TEST(FiberBlock, EveryThreadRunsOnceInAnOrderOfTheSeed) {
  std::set<std::vector<int>> orders;
  for (const uint64_t seed : {0u, 1u, 2u, 3u}) {
    std::vector<int> order;
    FiberBlock(64).run([&](int i) { order.push_back(i); }, seed);
    EXPECT_EQ(std::set<int>(order.begin(), order.end()).size(), 64u);
    orders.insert(order);
  }
  EXPECT_EQ(orders.size(), 4u);
}

TEST(FiberBlock, NobodyPassesASyncBeforeAllHaveCome) {
  for (const uint64_t seed : {0u, 1u, 7u}) {
    FiberBlock fibers(96);
    int arrived = 0;
    int seen_by_all = 0;
    fibers.run(
        [&](int) {
          ++arrived;
          fibers.sync();
          if (arrived == 96) ++seen_by_all;
        },
        seed);
    EXPECT_EQ(seen_by_all, 96);
  }
}

TEST(FiberBlock, AWarpExchangesWithoutTheOthers) {
  FiberBlock fibers(64);
  std::vector<uint64_t> sums(64);
  fibers.run(
      [&](int i) {
        if (i >= 32) return;  // the other warp never comes
        for (uint64_t round = 0; round < 3; ++round) {
          const uint64_t* given = fibers.exchange(static_cast<uint64_t>(i) + round, 0);
          for (int lane = 0; lane < 32; ++lane) sums[static_cast<size_t>(i)] += given[lane];
        }
      },
      9);
  for (size_t i = 0; i < 32; ++i) EXPECT_EQ(sums[i], 3u * 496u + 32u * 3u);
}

TEST(FiberBlock, AThreadThatMissesASyncIsReported) {
  FiberBlock fibers(64);
  EXPECT_THAT(fault_of([&] {
                fibers.run(
                    [&](int i) {
                      if (i != 5) fibers.sync();
                    },
                    0);
              }),
              HasSubstr("never meet: from 0 on at sync; from 5 on done; from 6 on at sync;"));
}

TEST(FiberBlock, ALaneThatMissesAnExchangeIsReported) {
  FiberBlock fibers(32);
  EXPECT_THAT(fault_of([&] {
                fibers.run(
                    [&](int i) {
                      if (i < 16) (void)fibers.exchange(1, 0);
                    },
                    0);
              }),
              HasSubstr("from 0 on at a warp's exchange; from 16 on done;"));
}

TEST(FiberBlock, DifferentExchangesAreReported) {
  FiberBlock fibers(32);
  EXPECT_THAT(fault_of([&] { fibers.run([&](int i) { (void)fibers.exchange(1, i / 16); }, 0); }),
              HasSubstr("lanes 0 and 16 exchange different things"));
}

TEST(FiberBlock, CanBeUsedAfterAFault) {
  FiberBlock fibers(32);
  EXPECT_THAT(fault_of([&] {
                fibers.run(
                    [&](int i) {
                      if (i == 3) fibers.fail("oh");
                    },
                    0);
              }),
              HasSubstr("thread 3: oh"));
  int count = 0;
  fibers.run([&](int) { ++count; }, 0);
  EXPECT_EQ(count, 32);
}

// Sums its block without waiting for the warps' sums: right only if the last warp runs first.
struct ForgetsToSync {
  static constexpr int kThreads = 64;
  static constexpr bool kMeetsThreads = true;
  using Shared = WarpSums<float, kThreads>;
  float* sum;
  int64_t num_blocks() const { return 1; }
  template <typename Thread>
  void operator()(const Thread& thread, Shared& shared) const {
    const float of_warp = sum_over_lanes(thread, 1.0f, kWarpLanes);
    if (thread.index() % kWarpLanes == 0) shared.of_warp[thread.index() / kWarpLanes] = of_warp;
    if (thread.index() == 0) *sum = shared.of_warp[0] + shared.of_warp[1];
  }
};

TEST(Emulate, SharedMemoryBeginsAsNan) {
  float sum = 0;
  emulate(ForgetsToSync{&sum}, 0);
  EXPECT_TRUE(std::isnan(sum));
}

TEST(Emulate, AnotherOrderShowsAMissingSync) {
  std::set<bool> is_right;
  for (uint64_t seed = 0; seed < 8; ++seed) {
    float sum = 0;
    emulate(ForgetsToSync{&sum}, seed);
    is_right.insert(sum == 64.0f);
  }
  EXPECT_EQ(is_right.size(), 2u);
}

struct SumsOfBlock {
  static constexpr int kThreads = 128;
  static constexpr bool kMeetsThreads = true;
  using Shared = WarpSums<double, kThreads>;
  const double* values;
  double* sums;  // by thread
  int64_t num_blocks() const { return 1; }
  template <typename Thread>
  void operator()(const Thread& thread, Shared& shared) const {
    sums[thread.index()] = sum_over_block<kThreads>(thread, values[thread.index()], shared);
  }
};

TEST(Meet, EveryThreadHasTheSumOfTheBlock) {
  std::vector<double> values;
  for (int i = 0; i < 128; ++i) values.push_back(i);
  std::vector<double> sums(128);
  emulate(SumsOfBlock{values.data(), sums.data()}, 4);
  EXPECT_EQ(std::set<double>(sums.begin(), sums.end()), std::set<double>{127.0 * 128 / 2});
}

struct BallotOfThirds {
  static constexpr int kThreads = 32;
  static constexpr bool kMeetsThreads = true;
  using Shared = NothingShared;
  unsigned* bits;
  int64_t num_blocks() const { return 1; }
  template <typename Thread>
  void operator()(const Thread& thread, Shared&) const {
    bits[thread.index()] = thread.ballot(thread.index() % 3 == 0);
  }
};

TEST(Emulate, ABallotHasABitPerLane) {
  std::vector<unsigned> bits(32);
  emulate(BallotOfThirds{bits.data()}, 2);
  for (const unsigned all : bits) EXPECT_EQ(all, 0x49249249u);
}

}  // namespace
}  // namespace molora::testing
