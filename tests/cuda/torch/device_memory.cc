#include "device_memory.h"

#include <algorithm>
#include <cstdio>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "fake_cuda.h"
#include "fake_torch.h"
#include "runtime_call.h"
#include "streams.h"

namespace molora::fake_torch {

namespace {

enum class Kind { kDevice, kPinned };

struct Block {
  Kind kind = Kind::kDevice;
  size_t bytes = 0;
  c10::Stream home;                     // that it was allocated for
  std::vector<c10::Stream> users = {};  // beside it; page-locked memory has no home but users
};

struct Dying {
  void* data = nullptr;
  Block block;
  std::vector<cudaEvent_t> awaited;
};

// What is allocated and what is given up but still in use. Lives as long as the process.
class Memory {
 public:
  static Memory& of_process() {
    static auto* memory = new Memory;
    return *memory;
  }

  void* allocate(Kind kind, size_t bytes);
  void record_stream(const void* data, c10::Stream stream);
  void give_up(void* data);
  size_t bytes_on(int device);

 private:
  void free_unused();  // REQUIRES: mutex_ is held

  std::mutex mutex_;
  std::unordered_map<const void*, Block> live_;
  std::vector<Dying> dying_;
};

// Makes the device of a stream the calling thread's: the default stream is that of the thread's
// device.
class OnDeviceOf {
 public:
  explicit OnDeviceOf(c10::Stream stream) : before_(current_device()) {
    if (before_ != stream.device_index()) FAKE_TORCH_CHECK(cudaSetDevice(stream.device_index()));
  }
  ~OnDeviceOf() { cudaSetDevice(before_); }
  OnDeviceOf(const OnDeviceOf&) = delete;
  OnDeviceOf& operator=(const OnDeviceOf&) = delete;

 private:
  int before_;
};

// cudaFreeHost() waits for the whole device, so page-locked memory goes back when nothing is
// queued.
bool is_in_use(const Dying& dying) {
  const auto is_pending = [](cudaEvent_t event) {
    return !is_done_yet(cudaEventQuery(event), "cudaEventQuery");
  };
  if (std::any_of(dying.awaited.begin(), dying.awaited.end(), is_pending)) return true;
  return dying.block.kind == Kind::kPinned &&
         fake_cuda_device_is_idle(dying.block.home.device_index()) == 0;
}

void release(const Dying& dying) {
  for (cudaEvent_t event : dying.awaited) FAKE_TORCH_CHECK(cudaEventDestroy(event));
  const OnDeviceOf on(dying.block.home);
  if (dying.block.kind == Kind::kDevice) {
    FAKE_TORCH_CHECK(cudaFreeAsync(dying.data, handle_of(dying.block.home)));
  } else {
    FAKE_TORCH_CHECK(cudaFreeHost(dying.data));
  }
}

// What must be done on `stream` before memory used there is free; null: nothing.
cudaEvent_t event_if_busy(c10::Stream stream) {
  const OnDeviceOf on(stream);
  if (is_done_yet(cudaStreamQuery(handle_of(stream)), "cudaStreamQuery")) return nullptr;
  cudaEvent_t event = nullptr;
  FAKE_TORCH_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  FAKE_TORCH_CHECK(cudaEventRecord(event, handle_of(stream)));
  return event;
}

cudaError_t allocate_from_runtime(Kind kind, size_t bytes, void** data) {
  const cudaError_t status = kind == Kind::kDevice
                                 ? cudaMalloc(data, bytes)
                                 : cudaHostAlloc(data, bytes, cudaHostAllocDefault);
  if (status != cudaSuccess) cudaGetLastError();
  return status;
}

[[noreturn]] void refuse(Kind kind, size_t bytes, cudaError_t status) {
  size_t free = 0;
  size_t total = 0;
  FAKE_TORCH_CHECK(cudaMemGetInfo(&free, &total));
  using c10::CachingAllocator::format_size;
  const char* where = kind == Kind::kDevice ? "CUDA" : "page-locked memory";
  TORCH_CHECK_WITH(OutOfMemoryError, status != cudaErrorMemoryAllocation, where,
                   " out of memory. Tried to allocate ", format_size(bytes), ". GPU ",
                   static_cast<int>(current_device()), " has a total capacity of ",
                   format_size(total), " of which ", format_size(free), " is free.");
  check_cuda(status, "allocate");
  TORCH_CHECK(false, "not reached");
}

void* Memory::allocate(Kind kind, size_t bytes) {
  const std::lock_guard lock(mutex_);
  free_unused();
  void* data = nullptr;
  cudaError_t status = allocate_from_runtime(kind, bytes, &data);
  if (status == cudaErrorMemoryAllocation) {  // what streams have yet to free may be enough
    FAKE_TORCH_CHECK(cudaDeviceSynchronize());
    free_unused();
    FAKE_TORCH_CHECK(cudaDeviceSynchronize());
    status = allocate_from_runtime(kind, bytes, &data);
  }
  if (status != cudaSuccess) refuse(kind, bytes, status);
  live_.emplace(data, Block{kind, bytes, current_stream(current_device())});
  return data;
}

void Memory::record_stream(const void* data, c10::Stream stream) {
  const std::lock_guard lock(mutex_);
  const auto found = live_.find(data);
  if (found == live_.end()) return;  // not ours, such as page-locked memory made elsewhere
  std::vector<c10::Stream>& users = found->second.users;
  if (std::find(users.begin(), users.end(), stream) == users.end()) users.push_back(stream);
}

void Memory::give_up(void* data) {
  const std::lock_guard lock(mutex_);
  Dying dying{data, std::move(live_.at(data)), {}};
  live_.erase(data);
  for (const c10::Stream& stream : dying.block.users) {
    if (cudaEvent_t event = event_if_busy(stream)) dying.awaited.push_back(event);
  }
  dying_.push_back(std::move(dying));
  free_unused();
}

void Memory::free_unused() {
  const auto unused = std::stable_partition(dying_.begin(), dying_.end(), is_in_use);
  for (auto it = unused; it != dying_.end(); ++it) release(*it);
  dying_.erase(unused, dying_.end());
}

size_t Memory::bytes_on(int device) {
  const std::lock_guard lock(mutex_);
  free_unused();
  size_t bytes = 0;
  const auto add = [&](const Block& block) {
    if (block.kind == Kind::kDevice && block.home.device_index() == device) bytes += block.bytes;
  };
  for (const auto& [data, block] : live_) add(block);
  for (const Dying& dying : dying_) add(dying.block);
  return bytes;
}

// Runs in destructors. Memory of a device that has failed for good is not given back.
void give_up(void* data) {
  try {
    Memory::of_process().give_up(data);
  } catch (const c10::Error& error) {
    std::fprintf(stderr, "fake torch: memory is lost: %s\n", error.what_without_backtrace());
  }
}

class KindAllocator final : public c10::Allocator {
 public:
  explicit KindAllocator(Kind kind) : kind_(kind) {}

  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device device =
        kind_ == Kind::kDevice ? c10::Device(c10::kCUDA, current_device()) : c10::Device(c10::kCPU);
    if (bytes == 0) return {nullptr, device};
    void* data = Memory::of_process().allocate(kind_, bytes);
    return {data, data, &give_up, device};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &give_up; }

  void copy_data(void* to, const void* from, size_t bytes) const override {
    if (kind_ == Kind::kPinned) return default_copy_data(to, from, bytes);
    const c10::Stream stream = current_stream(current_device());
    FAKE_TORCH_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, handle_of(stream)));
  }

 private:
  Kind kind_;
};

}  // namespace

c10::Allocator* device_allocator() {
  static auto* allocator = new KindAllocator(Kind::kDevice);
  return allocator;
}

c10::Allocator* pinned_allocator() {
  static auto* allocator = new KindAllocator(Kind::kPinned);
  return allocator;
}

void record_stream(const void* data, c10::Stream stream) {
  Memory::of_process().record_stream(data, stream);
}

bool is_pinned(const void* data) {
  cudaPointerAttributes attributes = {};
  if (data == nullptr || cudaPointerGetAttributes(&attributes, data) != cudaSuccess) return false;
  return attributes.type == cudaMemoryTypeHost;
}

c10::Device device_of(const void* data) {
  cudaPointerAttributes attributes = {};
  FAKE_TORCH_CHECK(cudaPointerGetAttributes(&attributes, data));
  TORCH_CHECK(attributes.type == cudaMemoryTypeDevice, "The specified pointer is not on a device");
  return {c10::kCUDA, static_cast<c10::DeviceIndex>(attributes.device)};
}

}  // namespace molora::fake_torch

size_t fake_torch_device_bytes(int device) {
  return molora::fake_torch::Memory::of_process().bytes_on(device);
}

// LibTorch finds the allocator of a device type here.
REGISTER_ALLOCATOR(c10::DeviceType::CUDA, molora::fake_torch::device_allocator())
