#include "tensor/host_pool.h"

#include <algorithm>

#include <fmt/format.h>

namespace molora {

namespace {

constexpr size_t kPeriodsWorth = 8;  // a period ends when so many times what is held was handed out

double mebibytes(size_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

}  // namespace

void* HostPool::allocate(size_t bytes) {
  const std::lock_guard lock(mutex_);
  void* data = try_allocate(bytes);
  if (data == nullptr) {
    small_.release(0);
    large_.release(0);
    data = try_allocate(bytes);
  }
  if (data == nullptr) fail(bytes);
  count(data);
  keep_limit();
  return data;
}

void HostPool::deallocate(void* data) {
  const std::lock_guard lock(mutex_);
  live_ -= HostHeap::wanted_bytes(data);
  used_ -= HostHeap::block_bytes(data);
  heap_of(data).deallocate(data);
}

HostHeap& HostPool::heap_of(const void* data) { return large_.holds(data) ? large_ : small_; }

void* HostPool::try_allocate(size_t bytes) {
  return (bytes < kLargeBytes ? small_ : large_).allocate(bytes);
}

void HostPool::count(const void* data) {
  live_ += HostHeap::wanted_bytes(data);
  peak_ = std::max(peak_, live_);
  used_ += HostHeap::block_bytes(data);
  most_used_ = std::max(most_used_, used_);
  handed_out_ += HostHeap::block_bytes(data);
  if (handed_out_ < kPeriodsWorth * held()) return;
  most_used_before_ = most_used_;
  most_used_ = used_;
  handed_out_ = 0;
}

size_t HostPool::limit() const {
  const size_t most = std::max(most_used_, most_used_before_);
  return most + most / 8 + kSlackBytes;
}

// The new block has no contents yet: the system gives its pages when it is written, which is after
// others have gone back.
void HostPool::keep_limit() {
  const size_t most = limit();
  if (held() <= most) return;
  large_.release(most - std::min(most, small_.held_bytes()));
  if (held() > most) small_.release(most - std::min(most, large_.held_bytes()));
}

void HostPool::fail(size_t bytes) const {
  throw HostMemoryError(fmt::format(
      "cannot allocate memory for a tensor of {:.1f} MiB: the system gives no more to this "
      "process. "
      "Its tensors have {:.1f} MiB now ({:.1f} MiB at most so far), and {:.1f} MiB are taken from "
      "the system for them. Lower train.micro_batch_size or data.max_length, set "
      "train.activation_checkpointing=true or model.precision=bf16, start fewer ranks on this "
      "machine, or raise the limit (ulimit -v)",
      mebibytes(bytes), mebibytes(live_), mebibytes(peak_), mebibytes(held())));
}

HostMemory HostPool::memory() const {
  const std::lock_guard lock(mutex_);
  return {static_cast<int64_t>(live_), static_cast<int64_t>(peak_), static_cast<int64_t>(held())};
}

void HostPool::reset_peak() {
  const std::lock_guard lock(mutex_);
  peak_ = live_;
}

}  // namespace molora
