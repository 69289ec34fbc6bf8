// Blocks of memory for tensors out of two heaps, with counters and a limit for what is kept.
//
// Small blocks, which may live long, have a heap of their own, so that they do not cut the large
// one into pieces.
//
// What is kept: no more than kSlackBytes and an eighth above the most that was in use lately.
// "Lately" is counted in bytes handed out, not in seconds: the most of this period and the one
// before, where a period ends when eight times what is held has been handed out. A training step
// that is the same again and again gives nothing back; when its memory is no longer asked for, it
// is gone after two periods. Thread safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>

#include "tensor/host_heap.h"
#include "tensor/host_memory.h"

namespace molora {

class HostPool {
 public:
  static constexpr size_t kLargeBytes = size_t{128} << 10;  // from here on in the large heap
  static constexpr size_t kSlackBytes = size_t{32} << 20;

  // Memory aligned to HostHeap::kAlignment; its contents are undefined. Throws: HostMemoryError
  // that says what was asked for, what there is and what to lower.
  void* allocate(size_t bytes);
  // REQUIRES: `data` is of allocate() and not given back yet.
  void deallocate(void* data);

  HostMemory memory() const;
  void reset_peak();

 private:
  HostHeap& heap_of(const void* data);
  void* try_allocate(size_t bytes);
  void count(const void* data);
  size_t held() const { return small_.held_bytes() + large_.held_bytes(); }
  size_t limit() const;
  void keep_limit();
  [[noreturn]] void fail(size_t bytes) const;

  mutable std::mutex mutex_;
  HostHeap small_{uintptr_t{0x1000} << 32, 64};
  HostHeap large_{uintptr_t{0x1800} << 32, 4096};
  size_t live_ = 0;  // as asked for
  size_t peak_ = 0;
  size_t used_ = 0;              // in blocks
  size_t most_used_ = 0;         // in this period
  size_t most_used_before_ = 0;  // in the period before
  size_t handed_out_ = 0;        // in this period
};

}  // namespace molora
