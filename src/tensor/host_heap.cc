#include "tensor/host_heap.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace molora {

struct alignas(HostHeap::kAlignment) HostHeap::Block {
  size_t bytes;         // header included
  size_t bytes_before;  // of the block that ends here; 0: this is the first
  size_t wanted;
  Block* next;  // of its free list
  Block* previous;
  bool is_free;

  std::byte* begin() { return reinterpret_cast<std::byte*>(this); }
  std::byte* end() { return begin() + bytes; }
  Block* before() {
    return bytes_before == 0 ? nullptr : reinterpret_cast<Block*>(begin() - bytes_before);
  }
};

namespace {

constexpr size_t kHeaderBytes = HostHeap::kAlignment;
constexpr size_t kGrowBytes = size_t{32} << 20;  // addresses taken at a time
constexpr int kMostLooked = 32;                  // blocks of a list that are compared
constexpr size_t kPlaceBytes = size_t{1} << 40;  // how far a heap can grow
constexpr int kMostPlaces = 8;

constexpr size_t round_up(size_t bytes, size_t step) { return (bytes + step - 1) / step * step; }

// What remains of a block is worth a block of its own from here on: a block wastes less than an
// eighth.
constexpr size_t smallest_rest(size_t bytes, size_t step) { return std::max(step, bytes / 16); }

// Maps exactly these addresses, in large pages where the system has them.
bool map_at(std::byte* begin, size_t bytes) {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
  void* mapped = mmap(begin, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (mapped == MAP_FAILED) return false;
  if (mapped != begin) {  // kernels before 4.17 take the address for a wish
    munmap(mapped, bytes);
    return false;
  }
  madvise(mapped, bytes, MADV_HUGEPAGE);
  return true;
}

// The first of a few places where nothing is mapped yet.
std::byte* first_range(uintptr_t base, size_t bytes) {
  for (int place = 0; place < kMostPlaces; ++place) {
    auto* begin = reinterpret_cast<std::byte*>(base + static_cast<uintptr_t>(place) * kPlaceBytes);
    if (map_at(begin, bytes)) return begin;
  }
  return nullptr;
}

}  // namespace

HostHeap::HostHeap(uintptr_t base, size_t step) : wanted_base_(base), step_(step) {
  static_assert(sizeof(Block) == kHeaderBytes);
  MOLORA_CHECK(std::has_single_bit(step) && step >= kAlignment, "step {}", step);
}

HostHeap::~HostHeap() {
  if (base_ != nullptr) munmap(base_, static_cast<size_t>(mapped_end_ - base_));
}

HostHeap::Bin HostHeap::bin_of(size_t bytes) {
  const auto level = static_cast<size_t>(std::bit_width(bytes) - 1);
  return {level, (bytes >> (level - 4)) - kPerLevel};
}

HostHeap::Block* HostHeap::block_of(const void* data) {
  auto* bytes = static_cast<std::byte*>(const_cast<void*>(data));
  return reinterpret_cast<Block*>(bytes - kHeaderBytes);
}

bool HostHeap::holds(const void* data) const {
  const auto* at = static_cast<const std::byte*>(data);
  return at >= base_ && at < top_;
}

size_t HostHeap::wanted_bytes(const void* data) { return block_of(data)->wanted; }

size_t HostHeap::block_bytes(const void* data) { return block_of(data)->bytes; }

void* HostHeap::allocate(size_t bytes) {
  if (bytes > SIZE_MAX / 4) return nullptr;
  const size_t needed = round_up(bytes + kHeaderBytes, step_);
  Block* block = find(needed);
  if (block == nullptr) block = at_end(needed);
  if (block == nullptr) return nullptr;
  block->is_free = false;
  cut(block, needed);
  block->wanted = bytes;
  hold(block);
  return block->begin() + kHeaderBytes;
}

void HostHeap::deallocate(void* data) {
  Block* block = block_of(data);
  MOLORA_CHECK(!block->is_free, "memory was given back twice");
  block->is_free = true;
  Block* next = after(block);
  if (next != nullptr && next->is_free) {
    remove(next);
    join_next(block);
  }
  Block* before = block->before();
  if (before != nullptr && before->is_free) {
    remove(before);
    join_next(before);
    block = before;
  }
  insert(block);
}

// A free block of the size, out of its list: the best of its own list, else of the next one that
// has any.
HostHeap::Block* HostHeap::find(size_t bytes) {
  const Bin bin = bin_of(bytes);
  if (Block* block = best_in(bin, bytes)) return block;
  const uint32_t larger = indices_[bin.level] & ~((uint32_t{2} << bin.index) - 1);
  if (larger != 0) {
    return best_in({bin.level, static_cast<size_t>(std::countr_zero(larger))}, bytes);
  }
  const uint64_t levels = levels_ & ~((uint64_t{2} << bin.level) - 1);
  if (levels == 0) return nullptr;
  const auto level = static_cast<size_t>(std::countr_zero(levels));
  return best_in({level, static_cast<size_t>(std::countr_zero(indices_[level]))}, bytes);
}

// The smallest that fits, the lowest of equal ones: the end of the heap gets free.
HostHeap::Block* HostHeap::best_in(Bin bin, size_t bytes) {
  Block* best = nullptr;
  int looked = 0;
  for (Block* block = free_[bin.level][bin.index]; block != nullptr && looked < kMostLooked;
       block = block->next, ++looked) {
    if (block->bytes < bytes) continue;
    const bool is_better = best == nullptr || block->bytes < best->bytes ||
                           (block->bytes == best->bytes && block < best);
    if (is_better) best = block;
  }
  if (best != nullptr) remove(best);
  return best;
}

// A block at the end of the heap, with the last one as its beginning when that is free.
HostHeap::Block* HostHeap::at_end(size_t bytes) {
  const bool is_last_free = last_ != nullptr && last_->is_free;
  const size_t there = is_last_free ? last_->bytes : 0;
  const size_t missing = bytes - std::min(bytes, there);
  if (!make_room(missing)) return nullptr;
  if (is_last_free) {
    remove(last_);
    last_->bytes += missing;
  } else {
    auto* block = reinterpret_cast<Block*>(top_);
    block->bytes = missing;
    block->bytes_before = last_ == nullptr ? 0 : last_->bytes;
    last_ = block;
  }
  top_ += missing;
  return last_;
}

// Maps more where less than `bytes` are left behind the last block.
bool HostHeap::make_room(size_t bytes) {
  const auto left = static_cast<size_t>(mapped_end_ - top_);
  if (bytes <= left) return true;
  const size_t more = round_up(bytes - left, kGrowBytes);
  if (base_ == nullptr) {
    base_ = top_ = mapped_end_ = first_range(wanted_base_, more);
    if (base_ == nullptr) return false;
  } else if (!map_at(mapped_end_, more)) {
    return false;
  }
  mapped_end_ += more;
  is_held_.resize(static_cast<size_t>(mapped_end_ - base_) / kPageBytes);
  return true;
}

HostHeap::Block* HostHeap::after(Block* block) {
  return block == last_ ? nullptr : reinterpret_cast<Block*>(block->end());
}

void HostHeap::insert(Block* block) {
  const Bin bin = bin_of(block->bytes);
  Block*& first = free_[bin.level][bin.index];
  block->previous = nullptr;
  block->next = first;
  if (first != nullptr) first->previous = block;
  first = block;
  indices_[bin.level] |= uint32_t{1} << bin.index;
  levels_ |= uint64_t{1} << bin.level;
}

void HostHeap::remove(Block* block) {
  const Bin bin = bin_of(block->bytes);
  Block*& first = free_[bin.level][bin.index];
  if (block->next != nullptr) block->next->previous = block->previous;
  if (block->previous != nullptr) {
    block->previous->next = block->next;
  } else {
    first = block->next;
  }
  if (first != nullptr) return;
  indices_[bin.level] &= ~(uint32_t{1} << bin.index);
  if (indices_[bin.level] == 0) levels_ &= ~(uint64_t{1} << bin.level);
}

// Makes what a block has beyond `bytes` a free block, if it is worth it.
void HostHeap::cut(Block* block, size_t bytes) {
  const size_t rest = block->bytes - bytes;
  if (rest < smallest_rest(bytes, step_)) return;
  auto* cut_off = reinterpret_cast<Block*>(block->begin() + bytes);
  cut_off->bytes = rest;
  cut_off->bytes_before = bytes;
  cut_off->is_free = true;
  block->bytes = bytes;
  if (last_ == block) {
    last_ = cut_off;
  } else {
    after(cut_off)->bytes_before = rest;
  }
  insert(cut_off);
}

// Makes the block that follows, which is in no list, part of this one.
void HostHeap::join_next(Block* block) {
  Block* next = after(block);
  block->bytes += next->bytes;
  if (last_ == next) {
    last_ = block;
  } else {
    after(block)->bytes_before = block->bytes;
  }
}

// The pages of a block and of the header behind it, which cutting has written.
void HostHeap::hold(Block* block) {
  const std::byte* end = std::min(block->end() + kHeaderBytes, top_);
  const auto first = static_cast<size_t>(block->begin() - base_) / kPageBytes;
  const auto last = static_cast<size_t>(end - base_ - 1) / kPageBytes;
  for (size_t page = first; page <= last; ++page) {
    if (!is_held_[page]) ++num_held_;
    is_held_[page] = true;
  }
}

void HostHeap::release(size_t target) {
  for (Block* block = last_; block != nullptr && held_bytes() > target; block = block->before()) {
    if (block->is_free) release_within(block, target);
  }
}

// The pages of a free block behind its header, from the last on.
void HostHeap::release_within(Block* block, size_t target) {
  const auto begin = static_cast<size_t>(block->begin() - base_) + kHeaderBytes;
  const size_t first = round_up(begin, kPageBytes) / kPageBytes;
  size_t page = static_cast<size_t>(block->end() - base_) / kPageBytes;
  while (page > first && held_bytes() > target) {
    --page;
    if (!is_held_[page]) continue;
    if (madvise(base_ + page * kPageBytes, kPageBytes, MADV_DONTNEED) != 0) return;
    is_held_[page] = false;
    --num_held_;
  }
}

}  // namespace molora
