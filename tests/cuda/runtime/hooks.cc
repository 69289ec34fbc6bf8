// What the fake libnccl.so.2 asks of the run time (fake_cuda.h).
#include <algorithm>
#include <cstring>
#include <string>

#include "fake_cuda.h"
#include "memory_registry.h"
#include "stream_table.h"

namespace molora::fake_cuda {

extern "C" {

uint64_t fake_cuda_enqueue(cudaStream_t handle, void (*run)(void*), void* context) {
  const auto stream = streams().find(handle, current_device());
  return stream ? streams().submit(*stream, [run, context] { run(context); }) : 0;
}

int fake_cuda_stream_device(cudaStream_t handle) {
  const auto stream = streams().find(handle, current_device());
  return stream ? stream->device() : -1;
}

int fake_cuda_is_ordered(cudaStream_t later_handle, cudaStream_t earlier_handle,
                         uint64_t position) {
  const auto later = streams().find(later_handle, current_device());
  const auto earlier = streams().find(earlier_handle, current_device());
  // A destroyed stream cannot be waited for any more; its work may still be under way.
  if (!later || !earlier) return 0;
  if (later == earlier || earlier->is_done(position)) return 1;
  const StreamOrder order = later->order();
  const auto known = order.find(earlier->number());
  return known != order.end() && known->second >= position ? 1 : 0;
}

int fake_cuda_device_is_idle(int device) { return streams().is_idle(device) ? 1 : 0; }

int fake_cuda_check_device_memory(const void* begin, size_t bytes, int device, char* why,
                                  size_t why_size) {
  const std::string complaint = memory().why_not_device(begin, bytes, device);
  if (complaint.empty()) return 0;
  const size_t size = std::min(complaint.size(), why_size - 1);
  std::memcpy(why, complaint.data(), size);
  why[size] = '\0';
  return 1;
}

}  // extern "C"

}  // namespace molora::fake_cuda
