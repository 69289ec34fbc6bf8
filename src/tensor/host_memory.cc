#include "tensor/host_memory.h"

#include <atomic>

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/Device.h>

#include "tensor/host_pool.h"

namespace molora {

namespace {

constexpr uint8_t kPriority = 1;  // above LibTorch's own

void give_back(void* data);

// LibTorch's profiler is told, as its own allocator does.
class HostAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* data = nullptr;
    if (bytes > 0) {
      data = pool_.allocate(bytes);
      c10::profiledCPUMemoryReporter().New(data, bytes);
    }
    return {data, data, &give_back, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }

  HostPool& pool() { return pool_; }

 private:
  HostPool pool_;
};

// The one of the process: LibTorch asks for an object without end, and calls a function without an
// object to free. Tensors may live until after main(), so it is never destroyed.
HostAllocator& allocator() {
  static auto* const the = new HostAllocator();
  return *the;
}

std::atomic<bool>& is_in_use() {
  static std::atomic<bool> value = false;
  return value;
}

void give_back(void* data) {
  if (data == nullptr) return;
  c10::profiledCPUMemoryReporter().Delete(data);
  allocator().pool().deallocate(data);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kHasSanitizer = true;
#else
constexpr bool kHasSanitizer = false;
#endif

}  // namespace

void use_caching_host_allocator() {
  if (kHasSanitizer) return;
  c10::SetCPUAllocator(&allocator(), kPriority);
  is_in_use() = true;
}

HostMemory host_memory() { return is_in_use() ? allocator().pool().memory() : HostMemory{}; }

void reset_host_memory_peak() {
  if (is_in_use()) allocator().pool().reset_peak();
}

}  // namespace molora
