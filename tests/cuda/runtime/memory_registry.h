// All memory that the fake run time has given out: device memory and page-locked host memory, both
// host memory in truth.
//
// New memory is filled with 0xff bytes, which is NaN in every floating type. Freed memory is filled
// the same way and kept a while, so that whoever still uses it is named. Guard zones around each
// block are looked at when it is freed. Thread-safe; does not wait for streams (its callers do).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace molora::fake_cuda {

enum class MemoryKind { kUnknown, kDevice, kPinned, kRegistered };

struct MemoryBlock {
  MemoryKind kind = MemoryKind::kUnknown;
  int device = -1;
  std::byte* begin = nullptr;
  size_t bytes = 0;
  bool is_freed = false;
};

class MemoryRegistry {
 public:
  // nullptr when the device has no room left. REQUIRES: kind is kDevice or kPinned.
  std::byte* allocate(MemoryKind kind, int device, size_t bytes);

  // Empty, or why `begin` cannot be freed as memory of this kind; a broken guard zone is told too.
  std::string release(MemoryKind kind, void* begin);

  // Host memory of the caller that counts as page-locked until it is taken out again. False when it
  // overlaps what is known already, or is not known.
  bool add_registered(void* begin, size_t bytes);
  bool remove_registered(void* begin);

  // The block, live or freed, that holds this address; kUnknown when there is none.
  MemoryBlock find(const void* address) const;

  // Empty when [begin, begin + bytes) lies in one live block of this device; else what is there.
  std::string why_not_device(const void* begin, size_t bytes, int device) const;

  // The same for host memory: of what is known, it must be live and hold all bytes.
  std::string why_not_host(const void* begin, size_t bytes) const;

  size_t free_bytes(int device) const;

 private:
  MemoryBlock find_locked(const void* address) const;
  void shrink_quarantine();

  mutable std::mutex mutex_;
  std::map<const std::byte*, MemoryBlock> blocks_;  // by begin
  std::deque<const std::byte*> quarantine_;
  size_t quarantined_bytes_ = 0;
  std::map<int, size_t> used_bytes_;  // by device
};

MemoryRegistry& memory();

}  // namespace molora::fake_cuda
