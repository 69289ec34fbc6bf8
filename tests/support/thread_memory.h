// How much memory the tensors of one rank thread take, as LibTorch's allocator tells it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>

#include <c10/core/Allocator.h>
#include <c10/core/Device.h>
#include <c10/util/ThreadLocalDebugInfo.h>

namespace molora::testing {

// Counts from its construction to its end, in the thread that made it and the threads of its
// backward passes. Tensors that are there before are not counted, and must not end in between.
class ThreadMemory {
 public:
  ThreadMemory() : counter_(std::make_shared<Counter>()), guard_(kKind, counter_) {}

  int64_t live_bytes() const { return counter_->read(&Counter::live); }
  int64_t peak_bytes() const { return counter_->read(&Counter::peak); }
  void reset_peak() { counter_->reset_peak(); }

 private:
  static constexpr c10::DebugInfoKind kKind = c10::DebugInfoKind::PROFILER_STATE;

  class Counter : public c10::MemoryReportingInfoBase {
   public:
    int64_t live = 0;
    int64_t peak = 0;

    void reportMemoryUsage(void* /*ptr*/, int64_t alloc_size, size_t /*total_allocated*/,
                           size_t /*total_reserved*/, c10::Device /*device*/) override {
      const std::lock_guard<std::mutex> lock(mutex_);
      live += alloc_size;
      peak = std::max(peak, live);
    }
    bool memoryProfilingEnabled() const override { return true; }
    int64_t read(int64_t Counter::*number) {
      const std::lock_guard<std::mutex> lock(mutex_);
      return this->*number;
    }
    void reset_peak() {
      const std::lock_guard<std::mutex> lock(mutex_);
      peak = live;
    }

   private:
    std::mutex mutex_;
  };

  std::shared_ptr<Counter> counter_;
  c10::DebugInfoGuard guard_;
};

}  // namespace molora::testing
