// cudaMemcpy* and cudaMemset*: what waits for the host and what does not, as CUDA documents it.
//
// A copy out of pageable memory takes its bytes at the call; a copy into pageable memory has ended
// when the call returns; page-locked memory is read and written when the stream comes to the copy.
// What memory an address belongs to is looked at twice: at the call and when the copy is done.
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "api_call.h"
#include "memory_registry.h"
#include "report.h"
#include "stream_table.h"

namespace molora::fake_cuda {

namespace {

struct Copy {
  const char* name = "";
  void* to = nullptr;
  const void* from = nullptr;
  size_t bytes = 0;
};

enum class HostWaits { kAsNeeded, kUnlessOnDevice };

bool is_device(const MemoryBlock& block) { return block.kind == MemoryKind::kDevice; }

// Empty, or what is wrong with one end of a copy.
std::string why_not(const char* end, const void* begin, size_t bytes, bool wants_device) {
  const MemoryBlock block = memory().find(begin);
  const std::string why = wants_device ? memory().why_not_device(begin, bytes, block.device)
                                       : memory().why_not_host(begin, bytes);
  return why.empty() ? why : fmt::format("{} ({}): {}", end, wants_device ? "device" : "host", why);
}

std::string why_not(const Copy& copy, bool to_device, bool from_device) {
  std::string why = why_not("destination", copy.to, copy.bytes, to_device);
  return why.empty() ? why_not("source", copy.from, copy.bytes, from_device) : why;
}

// Which ends are device memory: as stated, or as the registry knows it.
std::pair<bool, bool> ends_on_device(const Copy& copy, cudaMemcpyKind kind) {
  switch (kind) {
    case cudaMemcpyHostToHost:
      return {false, false};
    case cudaMemcpyHostToDevice:
      return {true, false};
    case cudaMemcpyDeviceToHost:
      return {false, true};
    case cudaMemcpyDeviceToDevice:
      return {true, true};
    case cudaMemcpyDefault:
      break;
  }
  return {is_device(memory().find(copy.to)), is_device(memory().find(copy.from))};
}

void copy_on_stream(const Copy& copy, bool to_device, bool from_device) {
  const std::string why = why_not(copy, to_device, from_device);
  if (!why.empty()) {
    report("memory", fmt::format("{}, when the stream comes to it: {}", copy.name, why));
    fail_for_good(cudaErrorIllegalAddress);
    return;
  }
  std::memmove(copy.to, copy.from, copy.bytes);
}

// The stream brings page-locked destinations only later; until then they hold NaN, unless work that
// is still under way may read them.
void spoil_destination(const Copy& copy, int device) {
  if (streams().is_idle(device)) std::memset(copy.to, 0xff, copy.bytes);
}

cudaError_t start(const Copy& copy, cudaMemcpyKind kind, cudaStream_t handle,
                  HostWaits host_waits) {
  const auto stream = streams().find(handle, current_device());
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (copy.bytes == 0) return cudaSuccess;
  const auto [to_device, from_device] = ends_on_device(copy, kind);
  const std::string why = why_not(copy, to_device, from_device);
  if (!why.empty()) {
    report("memory", fmt::format("{}: {}", copy.name, why));
    return cudaErrorInvalidValue;
  }
  const bool from_pageable = memory().find(copy.from).kind == MemoryKind::kUnknown;
  const bool to_pageable = memory().find(copy.to).kind == MemoryKind::kUnknown;
  const bool must_wait =
      to_pageable || (host_waits == HostWaits::kUnlessOnDevice && !(to_device && from_device));
  if (from_pageable && !to_pageable) {
    const auto* bytes = static_cast<const std::byte*>(copy.from);
    auto staged = std::make_shared<std::vector<std::byte>>(bytes, bytes + copy.bytes);
    streams().submit(*stream, [=, to_device = to_device] {
      copy_on_stream({copy.name, copy.to, staged->data(), copy.bytes}, to_device, false);
    });
  } else {
    if (!to_device && !must_wait) spoil_destination(copy, stream->device());
    streams().submit(*stream, [=, to_device = to_device, from_device = from_device] {
      copy_on_stream(copy, to_device, from_device);
    });
  }
  if (must_wait) stream->wait(stream->end());
  return must_wait ? latest_error_that_stays() : cudaSuccess;
}

cudaError_t fill(const char* name, void* to, int value, size_t bytes, cudaStream_t handle) {
  const auto stream = streams().find(handle, current_device());
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (bytes == 0) return cudaSuccess;
  const bool on_device = is_device(memory().find(to));
  const bool is_known = memory().find(to).kind != MemoryKind::kUnknown;
  const std::string why = why_not("destination", to, bytes, on_device || !is_known);
  if (!why.empty()) {
    report("memory", fmt::format("{}: {}", name, why));
    return cudaErrorInvalidValue;
  }
  streams().submit(*stream, [=] {
    const std::string gone = why_not("destination", to, bytes, on_device);
    if (gone.empty()) {
      std::memset(to, value, bytes);
      return;
    }
    report("memory", fmt::format("{}, when the stream comes to it: {}", name, gone));
    fail_for_good(cudaErrorIllegalAddress);
  });
  return cudaSuccess;
}

}  // namespace

extern "C" {

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, enum cudaMemcpyKind kind) {
  return call("cudaMemcpy", [&] {
    return start({"cudaMemcpy", to, from, bytes}, kind, nullptr, HostWaits::kUnlessOnDevice);
  });
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return call("cudaMemcpyAsync", [&] {
    return start({"cudaMemcpyAsync", to, from, bytes}, kind, stream, HostWaits::kAsNeeded);
  });
}

cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t bytes,
                                cudaStream_t stream) {
  return call("cudaMemcpyPeerAsync", [&] {
    return start({"cudaMemcpyPeerAsync", to, from, bytes}, cudaMemcpyDeviceToDevice, stream,
                 HostWaits::kAsNeeded);
  });
}

cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  return call("cudaMemset", [&] { return fill("cudaMemset", to, value, bytes, nullptr); });
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  return call("cudaMemsetAsync", [&] { return fill("cudaMemsetAsync", to, value, bytes, stream); });
}

}  // extern "C"

}  // namespace molora::fake_cuda
