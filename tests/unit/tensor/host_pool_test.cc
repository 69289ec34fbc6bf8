#include "tensor/host_pool.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "support/expect_throw.h"
#include "support/process_numbers.h"

namespace molora {
namespace {

using testing::process_number;

constexpr size_t kMiB = size_t{1} << 20;
constexpr auto kSlack = static_cast<int64_t>(HostPool::kSlackBytes);

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kHasSanitizer = true;  // its shadow counts as memory of the process
#else
constexpr bool kHasSanitizer = false;
#endif

// What a step does: many blocks at once, then none.
void step(HostPool& pool, size_t num_blocks, size_t bytes) {
  std::vector<void*> blocks;
  for (size_t i = 0; i < num_blocks; ++i) {
    blocks.push_back(pool.allocate(bytes + i * 5000));
    std::memset(blocks.back(), 1, bytes);
  }
  for (void* block : blocks) pool.deallocate(block);
}

TEST(HostPool, CountsWhatIsAskedForAndGivenBack) {
  HostPool pool;
  void* const small = pool.allocate(100);
  void* const large = pool.allocate(3 * kMiB + 1);
  EXPECT_EQ(pool.memory().live_bytes, static_cast<int64_t>(3 * kMiB + 101));
  pool.deallocate(small);
  EXPECT_EQ(pool.memory().live_bytes, static_cast<int64_t>(3 * kMiB + 1));
  EXPECT_EQ(pool.memory().peak_bytes, static_cast<int64_t>(3 * kMiB + 101));
  pool.deallocate(large);
  EXPECT_EQ(pool.memory().live_bytes, 0);
  EXPECT_GE(pool.memory().held_bytes, static_cast<int64_t>(4 * kMiB));
}

TEST(HostPool, PeakBeginsAgainAtWhatIsLive) {
  HostPool pool;
  void* const kept = pool.allocate(1000);
  pool.deallocate(pool.allocate(kMiB));
  pool.reset_peak();
  EXPECT_EQ(pool.memory().peak_bytes, 1000);
  void* const more = pool.allocate(24);
  EXPECT_EQ(pool.memory().peak_bytes, 1024);
  pool.deallocate(kept);
  pool.deallocate(more);
}

TEST(HostPool, TheSameStepAgainTakesNothingMore) {
  HostPool pool;
  step(pool, 50, 2 * kMiB);
  const int64_t held = pool.memory().held_bytes;
  for (int i = 0; i < 40; ++i) {
    step(pool, 50, 2 * kMiB);
    ASSERT_EQ(pool.memory().held_bytes, held) << i;
  }
}

TEST(HostPool, WhatIsNoLongerNeededGoesBack) {
  HostPool pool;
  step(pool, 100, 4 * kMiB);
  EXPECT_GE(pool.memory().held_bytes, static_cast<int64_t>(400 * kMiB));
  for (int i = 0; i < 1000; ++i) step(pool, 1, 10 * kMiB);
  EXPECT_LE(pool.memory().held_bytes, static_cast<int64_t>(12 * kMiB) + kSlack);
}

TEST(HostPool, HoldsNoMoreThanAnEighthAboveTheMostThatWasLive) {
  HostPool pool;
  std::mt19937 random(11);
  std::vector<void*> blocks;
  int64_t most_live = 0;
  for (int i = 0; i < 20000; ++i) {
    if (blocks.size() < 40 || random() % 2 == 0) {
      blocks.push_back(pool.allocate(1 + random() % (8 * kMiB)));
      most_live = std::max(most_live, pool.memory().live_bytes);
    }
    if (blocks.size() > 50) {
      std::swap(blocks[random() % blocks.size()], blocks.back());
      pool.deallocate(blocks.back());
      blocks.pop_back();
    }
    // A block itself may be an eighth larger than what was asked for.
    ASSERT_LE(pool.memory().held_bytes, most_live * 81 / 64 + kSlack) << i;
  }
  for (void* block : blocks) pool.deallocate(block);
}

TEST(HostPool, PagesGivenBackAreNoLongerOfThisProcess) {
  if (kHasSanitizer) GTEST_SKIP();
  HostPool pool;
  const int64_t before = process_number("status", "VmRSS:");
  step(pool, 100, 4 * kMiB);
  EXPECT_GE(process_number("status", "VmRSS:") - before, 400 << 10);
  for (int i = 0; i < 1000; ++i) step(pool, 1, 10 * kMiB);
  EXPECT_LE(process_number("status", "VmRSS:") - before, 60 << 10);
}

TEST(HostPool, ThreadsTakeAndGiveBackEachOthersMemory) {
  HostPool pool;
  constexpr size_t kThreads = 4;
  std::vector<std::vector<void*>> blocks(kThreads);
  const auto in_threads = [](const auto& work) {
    std::vector<std::thread> threads;
    for (size_t t = 0; t < kThreads; ++t) threads.emplace_back(work, t);
    for (std::thread& thread : threads) thread.join();
  };
  for (int round = 0; round < 20; ++round) {
    in_threads([&](size_t t) {
      std::mt19937 random(static_cast<unsigned>(t));
      for (int i = 0; i < 200; ++i) {
        const size_t bytes = 1 + random() % (300 << 10);
        blocks[t].push_back(pool.allocate(bytes));
        std::memset(blocks[t].back(), static_cast<int>(t), bytes);
      }
    });
    in_threads([&](size_t t) {
      auto& of_other = blocks[(t + 1) % kThreads];
      for (void* block : of_other) {
        EXPECT_EQ(*static_cast<unsigned char*>(block), (t + 1) % kThreads);
        pool.deallocate(block);
      }
      of_other.clear();
    });
  }
  EXPECT_EQ(pool.memory().live_bytes, 0);
}

TEST(HostPool, SaysWhatWasAskedForWhatThereIsAndWhatToLower) {
  HostPool pool;
  void* const kept = pool.allocate(6 * kMiB);
  EXPECT_THROW_WITH(pool.allocate(size_t{1} << 50), HostMemoryError, "1073741824.0 MiB",
                    "tensors have 6.0 MiB now", "taken from the system", "train.micro_batch_size",
                    "ulimit -v");
  EXPECT_EQ(pool.memory().live_bytes, static_cast<int64_t>(6 * kMiB));
  pool.deallocate(kept);
}

// In a process of its own, whose addresses are limited.
int allocate_up_to_limit() {
  HostPool pool;
  const auto now = static_cast<rlim_t>(process_number("status", "VmSize:")) << 10;
  const rlimit limit{now + (400 << 20), now + (400 << 20)};
  if (setrlimit(RLIMIT_AS, &limit) != 0) return 1;
  std::vector<void*> blocks;
  try {
    for (int i = 0; i < 1000; ++i) blocks.push_back(pool.allocate(10 * kMiB));
  } catch (const HostMemoryError& error) {
    if (blocks.size() < 30) return 2;
    for (void* block : blocks) pool.deallocate(block);
    pool.deallocate(pool.allocate(300 * kMiB));  // what was freed serves again
    std::fputs(error.what(), stderr);
    return 0;
  }
  return 3;
}

TEST(HostPool, LimitOfTheProcessIsAnErrorAndNotTheEnd) {
  if (kHasSanitizer) GTEST_SKIP();
  EXPECT_EXIT(std::exit(allocate_up_to_limit()), ::testing::ExitedWithCode(0),
              "cannot allocate memory for a tensor of 10.0 MiB");
}

}  // namespace
}  // namespace molora
