// cudaMalloc and its like. As on a real device, memory is freed only when the device has done all
// that it was given before.
#include <cstring>

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "api_call.h"
#include "memory_registry.h"
#include "report.h"
#include "settings.h"
#include "stream_table.h"

namespace molora::fake_cuda {

namespace {

cudaError_t allocate(void** out, MemoryKind kind, size_t bytes) {
  if (out == nullptr) return cudaErrorInvalidValue;
  *out = nullptr;
  if (bytes == 0) return cudaSuccess;
  *out = memory().allocate(kind, current_device(), bytes);
  return *out == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}

cudaError_t released(const char* name, MemoryKind kind, void* begin) {
  const std::string complaint = memory().release(kind, begin);
  if (complaint.empty()) return cudaSuccess;
  report("free", fmt::format("{}: {}", name, complaint));
  return cudaErrorInvalidValue;
}

cudaError_t wait_and_release(const char* name, MemoryKind kind, void* begin) {
  return call(name, [&] {
    if (begin == nullptr) return cudaSuccess;
    const MemoryBlock block = memory().find(begin);
    if (block.device >= 0) streams().wait_for_device(block.device);
    return released(name, kind, begin);
  });
}

cudaError_t release_on_stream(void* begin, cudaStream_t handle) {
  const auto stream = streams().find(handle, current_device());
  if (!stream) return cudaErrorInvalidResourceHandle;
  const MemoryBlock block = memory().find(begin);
  if (block.begin != begin || block.is_freed || block.kind != MemoryKind::kDevice) {
    return released("cudaFreeAsync", MemoryKind::kDevice, begin);
  }
  streams().submit(*stream, [begin] {
    const cudaError_t error = released("cudaFreeAsync", MemoryKind::kDevice, begin);
    if (error != cudaSuccess) fail_for_good(error);
  });
  return cudaSuccess;
}

cudaMemoryType type_of(const MemoryBlock& block) {
  if (block.kind == MemoryKind::kUnknown || block.is_freed) return cudaMemoryTypeUnregistered;
  return block.kind == MemoryKind::kDevice ? cudaMemoryTypeDevice : cudaMemoryTypeHost;
}

}  // namespace

extern "C" {

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  return call("cudaMalloc", [&] { return allocate(pointer, MemoryKind::kDevice, bytes); });
}

cudaError_t cudaFree(void* pointer) {
  return wait_and_release("cudaFree", MemoryKind::kDevice, pointer);
}

cudaError_t cudaMallocAsync(void** pointer, size_t bytes, cudaStream_t stream) {
  return call("cudaMallocAsync", [&] {
    if (!streams().find(stream, current_device())) return cudaErrorInvalidResourceHandle;
    return allocate(pointer, MemoryKind::kDevice, bytes);
  });
}

cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream) {
  return call("cudaFreeAsync", [&] {
    return pointer == nullptr ? cudaSuccess : release_on_stream(pointer, stream);
  });
}

cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  return call("cudaMallocHost", [&] { return allocate(pointer, MemoryKind::kPinned, bytes); });
}

cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned int flags) {
  constexpr unsigned kKnown =
      cudaHostAllocPortable | cudaHostAllocMapped | cudaHostAllocWriteCombined;
  return call("cudaHostAlloc", [&] {
    if ((flags & ~kKnown) != 0) return cudaErrorInvalidValue;
    return allocate(pointer, MemoryKind::kPinned, bytes);
  });
}

cudaError_t cudaFreeHost(void* pointer) {
  return wait_and_release("cudaFreeHost", MemoryKind::kPinned, pointer);
}

cudaError_t cudaHostRegister(void* pointer, size_t bytes, unsigned int) {
  return call("cudaHostRegister", [&] {
    if (pointer == nullptr || bytes == 0) return cudaErrorInvalidValue;
    return memory().add_registered(pointer, bytes) ? cudaSuccess
                                                   : cudaErrorHostMemoryAlreadyRegistered;
  });
}

cudaError_t cudaHostUnregister(void* pointer) {
  return call("cudaHostUnregister", [&] {
    return memory().remove_registered(pointer) ? cudaSuccess : cudaErrorHostMemoryNotRegistered;
  });
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes* attributes,
                                     const void* pointer) {
  return call("cudaPointerGetAttributes", [&] {
    if (attributes == nullptr) return cudaErrorInvalidValue;
    const MemoryBlock block = memory().find(pointer);
    std::memset(attributes, 0, sizeof *attributes);
    attributes->type = type_of(block);
    const bool is_known = attributes->type != cudaMemoryTypeUnregistered;
    // A registered page has no device of its own; CUDA names the current one.
    attributes->device = !is_known ? -2 : block.device < 0 ? current_device() : block.device;
    attributes->devicePointer = is_known ? const_cast<void*>(pointer) : nullptr;
    const bool on_device = attributes->type == cudaMemoryTypeDevice;
    attributes->hostPointer = on_device ? nullptr : const_cast<void*>(pointer);
    return cudaSuccess;
  });
}

cudaError_t cudaHostGetDevicePointer(void** device_pointer, void* pointer, unsigned int) {
  return call("cudaHostGetDevicePointer", [&] {
    if (type_of(memory().find(pointer)) != cudaMemoryTypeHost) return cudaErrorInvalidValue;
    *device_pointer = pointer;
    return cudaSuccess;
  });
}

cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  return call("cudaMemGetInfo", [&] {
    *free_bytes = memory().free_bytes(current_device());
    *total_bytes = settings().memory_bytes;
    return cudaSuccess;
  });
}

}  // extern "C"

}  // namespace molora::fake_cuda
