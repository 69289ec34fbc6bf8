// A heap for large blocks of memory: free neighbours are joined, the best fit is found in constant
// time, and memory stays until it is asked back.
//
// One range of addresses that grows at its end, cut into blocks without gaps. In front of each
// block lies a header with its size and that of the block before it (boundary tags, Knuth, The Art
// of Computer Programming 1, 2.5), so that neighbours are found without a search. Free blocks lie
// in lists by size, 16 for each power of two (two-level segregated fit, Masmano et al., TLSF: a new
// dynamic memory allocator for real-time systems, 2004). The system gives memory in pages of 2 MiB,
// where it can, and gets it back in those.
//
// Not thread safe. Addresses are never given back; the destructor unmaps them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace molora {

class HostHeap {
 public:
  static constexpr size_t kAlignment = 64;
  static constexpr size_t kPageBytes = size_t{2} << 20;

  // `base`: where the range begins, or 1, 2, ... 7 TiB behind when something is there already; far
  // from where the system puts mappings. `step`: blocks have multiples of it (a power of two, 64 at
  // least).
  HostHeap(uintptr_t base, size_t step);
  ~HostHeap();
  HostHeap(const HostHeap&) = delete;
  HostHeap& operator=(const HostHeap&) = delete;
  HostHeap(HostHeap&&) = delete;
  HostHeap& operator=(HostHeap&&) = delete;

  // Memory for `bytes`, aligned to kAlignment, its contents undefined; nullptr when the system
  // gives no more.
  void* allocate(size_t bytes);
  // REQUIRES: `data` is of allocate() of this heap and not given back yet.
  void deallocate(void* data);
  // Whether the address lies in this heap.
  bool holds(const void* data) const;
  // What allocate() was asked for.
  static size_t wanted_bytes(const void* data);
  // What a block takes of the heap, header included.
  static size_t block_bytes(const void* data);

  // Gives pages that no block needs back to the system until only `target` bytes are held, or no
  // such page is left: those at the end first.
  void release(size_t target);
  // Taken from the system: pages that a block has touched since they were last given back.
  size_t held_bytes() const { return num_held_ * kPageBytes; }

 private:
  struct Block;
  struct Bin {
    size_t level, index;
  };
  static constexpr size_t kLevels = 64;
  static constexpr size_t kPerLevel = 16;

  static Bin bin_of(size_t bytes);
  static Block* block_of(const void* data);
  Block* find(size_t bytes);
  Block* best_in(Bin bin, size_t bytes);
  Block* at_end(size_t bytes);
  bool make_room(size_t bytes);
  Block* after(Block* block);
  void insert(Block* block);
  void remove(Block* block);
  void cut(Block* block, size_t bytes);
  void join_next(Block* block);
  void hold(Block* block);
  void release_within(Block* block, size_t target);

  uintptr_t wanted_base_;
  size_t step_;
  std::byte* base_ = nullptr;
  std::byte* top_ = nullptr;         // the end of the last block
  std::byte* mapped_end_ = nullptr;  // the end of what is mapped
  Block* last_ = nullptr;            // the block that ends at the top
  uint64_t levels_ = 0;              // which have a free block
  std::array<uint32_t, kLevels> indices_{};
  std::array<std::array<Block*, kPerLevel>, kLevels> free_{};
  std::vector<bool> is_held_;  // for each page from base_ on
  size_t num_held_ = 0;
};

}  // namespace molora
