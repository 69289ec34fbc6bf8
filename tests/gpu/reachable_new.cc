// Linked into a test program whose kernels work on the buffers of std::vector: from the first test
// on, `new` gives page-locked host memory, which a GPU reads and writes at the same addresses. So
// the same tests run on the test libraries, where all memory is the host's, and on a real GPU.
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory_resource>
#include <mutex>
#include <new>

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

namespace {

constexpr size_t kArenaBytes = size_t{512} << 20;
constexpr size_t kHeader = alignof(std::max_align_t);  // holds the size of what follows

// Never given back: what lives in it outlives every object of the program.
struct Arena {
  explicit Arena(std::byte* memory)
      : begin(memory),
        bytes(memory, kArenaBytes, std::pmr::null_memory_resource()),
        pool(std::pmr::pool_options{0, size_t{1} << 20}, &bytes) {}

  bool holds(const void* memory) const { return memory >= begin && memory < begin + kArenaBytes; }
  void* take(size_t size) {
    const std::lock_guard lock(mutex);
    auto* block = static_cast<std::byte*>(pool.allocate(size + kHeader));
    *reinterpret_cast<size_t*>(block) = size;
    return block + kHeader;
  }
  void give_back(void* memory) {
    const std::lock_guard lock(mutex);
    std::byte* block = static_cast<std::byte*>(memory) - kHeader;
    pool.deallocate(block, *reinterpret_cast<size_t*>(block) + kHeader);
  }

  std::byte* begin;
  std::mutex mutex;
  std::pmr::monotonic_buffer_resource bytes;
  std::pmr::unsynchronized_pool_resource pool;
};

Arena* arena = nullptr;

class ReachableMemory final : public ::testing::Environment {
  void SetUp() override {
    void* memory = nullptr;
    const cudaError_t result = cudaHostAlloc(&memory, kArenaBytes, cudaHostAllocDefault);
    ASSERT_EQ(result, cudaSuccess) << cudaGetErrorString(result);
    static std::aligned_storage_t<sizeof(Arena), alignof(Arena)> storage;
    arena = new (&storage) Arena(static_cast<std::byte*>(memory));
  }
};

[[maybe_unused]] const ::testing::Environment* const environment =
    ::testing::AddGlobalTestEnvironment(new ReachableMemory);

}  // namespace

void* operator new(size_t size) {
  if (arena != nullptr) return arena->take(size);
  void* memory = std::malloc(size > 0 ? size : 1);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept {
  if (arena != nullptr && arena->holds(memory)) {
    arena->give_back(memory);
  } else {
    std::free(memory);
  }
}
void operator delete(void* memory, size_t) noexcept { operator delete(memory); }
