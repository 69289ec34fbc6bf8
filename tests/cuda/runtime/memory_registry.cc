#include "memory_registry.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include <fmt/format.h>

#include "settings.h"

namespace molora::fake_cuda {

namespace {

constexpr size_t kAlignment = 512;  // of device memory; also the size of each guard zone
constexpr int kGuard = 0xa5;
constexpr int kNan = 0xff;

size_t padded(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

bool is_guard(const std::byte* zone, size_t bytes) {
  return std::all_of(zone, zone + bytes, [](std::byte b) { return b == std::byte{kGuard}; });
}

const char* kind_name(MemoryKind kind) {
  switch (kind) {
    case MemoryKind::kDevice:
      return "device memory";
    case MemoryKind::kPinned:
      return "page-locked host memory";
    case MemoryKind::kRegistered:
      return "registered host memory";
    case MemoryKind::kUnknown:
      break;
  }
  return "host memory that CUDA does not know";
}

std::string place(const MemoryBlock& block, const void* address) {
  return fmt::format(
      "{} is byte {} of {}{} bytes of {}{}", address,
      static_cast<const std::byte*>(address) - block.begin, block.is_freed ? "the freed " : "",
      block.bytes, kind_name(block.kind),
      block.kind == MemoryKind::kDevice ? fmt::format(" of device {}", block.device) : "");
}

// Whether [begin, begin + bytes) stays inside; told as what is wrong.
std::string why_too_long(const MemoryBlock& block, const void* begin, size_t bytes) {
  const auto offset = static_cast<size_t>(static_cast<const std::byte*>(begin) - block.begin);
  if (bytes <= block.bytes - offset) return {};
  return fmt::format("{} bytes are used, but {}", bytes, place(block, begin));
}

}  // namespace

MemoryRegistry& memory() {
  static MemoryRegistry& once = *new MemoryRegistry;
  return once;
}

std::byte* MemoryRegistry::allocate(MemoryKind kind, int device, size_t bytes) {
  const std::lock_guard lock(mutex_);
  const bool on_device = kind == MemoryKind::kDevice;
  const size_t limit = settings().memory_bytes;
  if (on_device && (bytes > limit || used_bytes_[device] + padded(bytes) > limit)) return nullptr;
  auto* base =
      static_cast<std::byte*>(std::aligned_alloc(kAlignment, padded(bytes) + 2 * kAlignment));
  if (base == nullptr) return nullptr;
  std::byte* begin = base + kAlignment;
  std::memset(base, kGuard, kAlignment);
  std::memset(begin, kNan, bytes);
  std::memset(begin + bytes, kGuard, padded(bytes) - bytes + kAlignment);
  if (on_device) used_bytes_[device] += padded(bytes);
  blocks_[begin] = MemoryBlock{kind, device, begin, bytes, false};
  return begin;
}

std::string MemoryRegistry::release(MemoryKind kind, void* begin) {
  const std::lock_guard lock(mutex_);
  const MemoryBlock found = find_locked(begin);
  if (found.kind == MemoryKind::kUnknown) {
    return fmt::format("{} is {}", begin, kind_name(found.kind));
  }
  if (found.is_freed || found.begin != begin || found.kind != kind) return place(found, begin);
  MemoryBlock& block = blocks_.at(found.begin);
  const size_t behind = padded(block.bytes) - block.bytes + kAlignment;
  std::string damage;
  if (!is_guard(block.begin - kAlignment, kAlignment)) {
    damage = fmt::format("something was written before the begin of {} bytes", block.bytes);
  } else if (!is_guard(block.begin + block.bytes, behind)) {
    damage = fmt::format("something was written behind the end of {} bytes", block.bytes);
  }
  std::memset(block.begin, kNan, block.bytes);
  block.is_freed = true;
  if (kind == MemoryKind::kDevice) used_bytes_[block.device] -= padded(block.bytes);
  quarantine_.push_back(block.begin);
  quarantined_bytes_ += block.bytes;
  shrink_quarantine();
  return damage;
}

void MemoryRegistry::shrink_quarantine() {
  while (quarantined_bytes_ > settings().quarantine_bytes) {
    const auto block = blocks_.find(quarantine_.front());
    quarantined_bytes_ -= block->second.bytes;
    std::free(block->second.begin - kAlignment);
    blocks_.erase(block);
    quarantine_.pop_front();
  }
}

bool MemoryRegistry::add_registered(void* begin, size_t bytes) {
  const std::lock_guard lock(mutex_);
  auto* first = static_cast<std::byte*>(begin);
  const auto next = blocks_.lower_bound(first);
  if (find_locked(begin).kind != MemoryKind::kUnknown) return false;
  if (next != blocks_.end() && next->first < first + bytes) return false;
  blocks_[first] = MemoryBlock{MemoryKind::kRegistered, -1, first, bytes, false};
  return true;
}

bool MemoryRegistry::remove_registered(void* begin) {
  const std::lock_guard lock(mutex_);
  const auto block = blocks_.find(static_cast<std::byte*>(begin));
  if (block == blocks_.end() || block->second.kind != MemoryKind::kRegistered) return false;
  blocks_.erase(block);
  return true;
}

MemoryBlock MemoryRegistry::find(const void* address) const {
  const std::lock_guard lock(mutex_);
  return find_locked(address);
}

MemoryBlock MemoryRegistry::find_locked(const void* address) const {
  const auto* byte = static_cast<const std::byte*>(address);
  const auto next = blocks_.upper_bound(byte);
  if (next == blocks_.begin()) return {};
  const MemoryBlock& block = std::prev(next)->second;
  // An empty block and the end of a block belong to nobody, but the begin is always the block's
  // own.
  return byte == block.begin || byte < block.begin + block.bytes ? block : MemoryBlock{};
}

std::string MemoryRegistry::why_not_device(const void* begin, size_t bytes, int device) const {
  const MemoryBlock block = find(begin);
  if (block.kind == MemoryKind::kUnknown) {
    return fmt::format("{} is {}", begin, kind_name(block.kind));
  }
  if (block.is_freed || block.kind != MemoryKind::kDevice || block.device != device) {
    return place(block, begin);
  }
  return why_too_long(block, begin, bytes);
}

std::string MemoryRegistry::why_not_host(const void* begin, size_t bytes) const {
  const MemoryBlock block = find(begin);
  if (block.kind == MemoryKind::kUnknown) return {};
  if (block.is_freed || block.kind == MemoryKind::kDevice) return place(block, begin);
  return why_too_long(block, begin, bytes);
}

size_t MemoryRegistry::free_bytes(int device) const {
  const std::lock_guard lock(mutex_);
  const auto used = used_bytes_.find(device);
  return settings().memory_bytes - (used == used_bytes_.end() ? 0 : used->second);
}

}  // namespace molora::fake_cuda
