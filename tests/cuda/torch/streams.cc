#include "streams.h"

#include <array>
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

#include "runtime_call.h"

namespace molora::fake_torch {

namespace {

constexpr int kMaxDevices = 16;
constexpr int kPoolStreams = 32;

// Streams live as long as the process: handles may be used until its last instruction.
struct Pool {
  std::array<std::once_flag, kPoolStreams> created;
  std::array<cudaStream_t, kPoolStreams> streams = {};
  std::atomic<unsigned> next{0};
};

Pool& pool_of(c10::DeviceIndex device) {
  static auto* pools = new std::array<Pool, kMaxDevices>;
  return pools->at(static_cast<size_t>(device));
}

cudaStream_t create_stream(c10::DeviceIndex device) {
  int before = 0;
  cudaStream_t stream = nullptr;
  FAKE_TORCH_CHECK(cudaGetDevice(&before));
  FAKE_TORCH_CHECK(cudaSetDevice(device));
  FAKE_TORCH_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  FAKE_TORCH_CHECK(cudaSetDevice(before));
  return stream;
}

c10::Stream stream_of(c10::DeviceIndex device, c10::StreamId id) {
  return c10::Stream(c10::Stream::UNSAFE, c10::Device(c10::kCUDA, device), id);
}

std::array<c10::StreamId, kMaxDevices>& current_ids() {
  thread_local std::array<c10::StreamId, kMaxDevices> ids = {};
  return ids;
}

}  // namespace

c10::DeviceIndex device_count() noexcept {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) return 0;
  return static_cast<c10::DeviceIndex>(std::min(count, kMaxDevices));
}

c10::DeviceIndex current_device() {
  int device = 0;
  FAKE_TORCH_CHECK(cudaGetDevice(&device));
  return static_cast<c10::DeviceIndex>(device);
}

c10::Device with_index(c10::Device device) {
  return device.has_index() ? device : c10::Device(device.type(), current_device());
}

c10::Stream default_stream(c10::DeviceIndex device) {
  return c10::Stream(c10::Stream::DEFAULT, c10::Device(c10::kCUDA, device));
}

c10::Stream current_stream(c10::DeviceIndex device) {
  if (device < 0) device = current_device();
  return stream_of(device, current_ids().at(static_cast<size_t>(device)));
}

c10::Stream exchange_stream(c10::Stream stream) {
  const c10::Stream before = current_stream(stream.device_index());
  current_ids().at(static_cast<size_t>(stream.device_index())) = stream.id();
  return before;
}

c10::Stream pool_stream(c10::DeviceIndex device) {
  if (device < 0) device = current_device();
  return stream_of(device, 1 + static_cast<c10::StreamId>(pool_of(device).next++ % kPoolStreams));
}

cudaStream_t handle_of(c10::Stream stream) {
  if (stream.id() == 0) return nullptr;
  Pool& pool = pool_of(stream.device_index());
  const auto at = static_cast<size_t>(stream.id() - 1);
  std::call_once(pool.created.at(at),
                 [&] { pool.streams[at] = create_stream(stream.device_index()); });
  return pool.streams[at];
}

void wait_for(c10::Stream stream) {
  const int before = current_device();
  // The default stream has no handle of its own: it is that of the calling thread's device.
  if (before != stream.device_index()) FAKE_TORCH_CHECK(cudaSetDevice(stream.device_index()));
  for (int tries = 0; !is_done_yet(cudaStreamQuery(handle_of(stream)), "cudaStreamQuery");
       ++tries) {
    if (tries < 50) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(std::min(tries, 200)));
    }
  }
  if (before != stream.device_index()) FAKE_TORCH_CHECK(cudaSetDevice(before));
}

}  // namespace molora::fake_torch
