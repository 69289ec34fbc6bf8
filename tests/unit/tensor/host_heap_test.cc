#include "tensor/host_heap.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"

namespace molora {
namespace {

constexpr uintptr_t kBase = uintptr_t{0x2000} << 32;
constexpr size_t kMiB = size_t{1} << 20;

struct Filled {
  std::byte* data;
  size_t bytes;
  std::byte pattern;
};

bool holds_pattern(const Filled& block) {
  return std::all_of(block.data, block.data + block.bytes,
                     [&](std::byte byte) { return byte == block.pattern; });
}

Filled take(HostHeap& heap, size_t bytes, int pattern) {
  const Filled block{static_cast<std::byte*>(heap.allocate(bytes)), bytes,
                     static_cast<std::byte>(pattern)};
  std::memset(block.data, pattern, bytes);
  return block;
}

class HostHeapSteps : public ::testing::TestWithParam<size_t> {};

TEST_P(HostHeapSteps, BlocksNeverOverlapWhateverTheOrder) {
  HostHeap heap(kBase, GetParam());
  std::mt19937 random(7);
  std::vector<Filled> blocks;
  for (int i = 0; i < 4000; ++i) {
    const bool is_full = blocks.size() > 100;
    if (blocks.empty() || (!is_full && random() % 2 == 0)) {
      const size_t bytes = 1 + random() % (size_t{1} << (random() % 18));
      blocks.push_back(take(heap, bytes, i % 251));
      ASSERT_EQ(reinterpret_cast<uintptr_t>(blocks.back().data) % HostHeap::kAlignment, 0U);
      continue;
    }
    std::swap(blocks[random() % blocks.size()], blocks.back());
    ASSERT_TRUE(holds_pattern(blocks.back())) << i;
    heap.deallocate(blocks.back().data);
    blocks.pop_back();
  }
}

TEST_P(HostHeapSteps, NeighboursThatAreAllFreeAreOneBlockAgain) {
  HostHeap heap(kBase, GetParam());
  std::vector<void*> blocks;
  for (size_t i = 1; i <= 64; ++i) blocks.push_back(heap.allocate(i * 3000));
  void* const first = blocks.front();
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937(3));
  for (void* block : blocks) heap.deallocate(block);
  const size_t held = heap.held_bytes();
  EXPECT_EQ(heap.allocate(64 * 65 / 2 * 3000), first);
  EXPECT_EQ(heap.held_bytes(), held);
}

INSTANTIATE_TEST_SUITE_P(All, HostHeapSteps, ::testing::Values(64, 4096));

TEST(HostHeap, FreedMemoryIsUsedAgain) {
  HostHeap heap(kBase, 64);
  void* const first = heap.allocate(5000);
  void* const second = heap.allocate(5000);
  heap.deallocate(first);
  EXPECT_EQ(heap.allocate(4900), first);
  EXPECT_NE(heap.allocate(4900), second);
}

TEST(HostHeap, TheSmallestHoleThatFitsIsTaken) {
  HostHeap heap(kBase, 64);
  std::vector<void*> blocks;
  for (const size_t bytes : {90000U, 10U, 50000U, 10U, 70000U, 10U})
    blocks.push_back(heap.allocate(bytes));
  for (const size_t hole : {0U, 2U, 4U}) heap.deallocate(blocks[hole]);
  EXPECT_EQ(heap.allocate(60000), blocks[4]);
}

TEST(HostHeap, ABlockTakesNoMoreThanAnEighthTooMuch) {
  HostHeap small(kBase, 64);
  HostHeap large(kBase + (uintptr_t{1} << 44), 4096);
  for (HostHeap* heap : {&small, &large}) {
    const size_t smallest = heap == &small ? 2048 : 128 << 10;
    for (size_t bytes = smallest; bytes < 64 * kMiB; bytes = bytes * 17 / 16 + 1) {
      void* const hole = heap->allocate(bytes + bytes / 15);
      void* const behind = heap->allocate(64);
      heap->deallocate(hole);
      void* const data = heap->allocate(bytes);
      EXPECT_EQ(data, hole);
      EXPECT_EQ(HostHeap::wanted_bytes(data), bytes);
      EXPECT_LE(HostHeap::block_bytes(data), bytes + bytes / 8) << bytes;
      heap->deallocate(data);
      heap->deallocate(behind);
    }
  }
}

TEST(HostHeap, PagesThatNoBlockNeedsGoBack) {
  HostHeap heap(kBase, 4096);
  const Filled kept = take(heap, 4 * kMiB, 1);
  const Filled freed = take(heap, 40 * kMiB, 2);
  const Filled behind = take(heap, 4 * kMiB, 3);
  heap.deallocate(freed.data);
  const size_t held = heap.held_bytes();
  EXPECT_GE(held, 48 * kMiB);
  heap.release(held - 10 * kMiB);
  EXPECT_EQ(heap.held_bytes(), held - 10 * kMiB);
  heap.release(0);
  EXPECT_LE(heap.held_bytes(), 14 * kMiB);
  EXPECT_TRUE(holds_pattern(kept));
  EXPECT_TRUE(holds_pattern(behind));
  const Filled again = take(heap, 40 * kMiB, 4);
  EXPECT_EQ(again.data, freed.data);
  EXPECT_EQ(heap.held_bytes(), held);
}

TEST(HostHeap, SecondHeapAtTheSamePlaceLiesElsewhere) {
  HostHeap first(kBase, 64);
  HostHeap second(kBase, 64);
  const Filled a = take(first, 40 * kMiB, 1);
  const Filled b = take(second, 40 * kMiB, 2);
  EXPECT_TRUE(holds_pattern(a));
  EXPECT_TRUE(first.holds(a.data) && !first.holds(b.data));
}

TEST(HostHeap, WhatTheSystemCannotGiveIsNoBlock) {
  HostHeap heap(kBase, 64);
  EXPECT_EQ(heap.allocate(SIZE_MAX), nullptr);
  EXPECT_EQ(heap.allocate(size_t{1} << 50), nullptr);
  EXPECT_NE(heap.allocate(100), nullptr);
}

TEST(HostHeap, MemoryGivenBackTwiceIsSeen) {
  HostHeap heap(kBase, 64);
  void* const data = heap.allocate(100);
  heap.deallocate(data);
  EXPECT_THROW(heap.deallocate(data), InternalError);
}

}  // namespace
}  // namespace molora
