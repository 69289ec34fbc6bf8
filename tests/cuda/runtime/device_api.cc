// Devices and versions: what a program asks before it starts.
#include <algorithm>
#include <cstring>
#include <string>

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "api_call.h"
#include "settings.h"
#include "stream_table.h"

namespace molora::fake_cuda {

namespace {

constexpr int kMultiprocessors = 8;
constexpr int kMajor = 9;
constexpr int kMinor = 0;
constexpr int kThreadsPerBlock = 1024;
constexpr int kThreadsPerMultiprocessor = 2048;
constexpr size_t kSharedPerBlock = size_t{48} << 10;
constexpr size_t kSharedPerBlockOptin = size_t{227} << 10;

int num_devices() { return static_cast<int>(settings().devices.size()); }

bool is_device(int device) { return device >= 0 && device < num_devices(); }

int bus_of(int device) { return settings().devices.at(static_cast<size_t>(device)) + 1; }

cudaDeviceProp properties_of(int device) {
  cudaDeviceProp prop;
  std::memset(&prop, 0, sizeof prop);
  const std::string name = "fake GPU in host memory";
  std::copy(name.begin(), name.end(), prop.name);
  prop.totalGlobalMem = settings().memory_bytes;
  prop.sharedMemPerBlock = kSharedPerBlock;
  prop.sharedMemPerBlockOptin = kSharedPerBlockOptin;
  prop.sharedMemPerMultiprocessor = size_t{228} << 10;
  prop.regsPerBlock = prop.regsPerMultiprocessor = 65536;
  prop.warpSize = 32;
  prop.maxThreadsPerBlock = kThreadsPerBlock;
  prop.maxThreadsPerMultiProcessor = kThreadsPerMultiprocessor;
  prop.maxBlocksPerMultiProcessor = 32;
  prop.maxThreadsDim[0] = prop.maxThreadsDim[1] = 1024;
  prop.maxThreadsDim[2] = 64;
  prop.maxGridSize[0] = 2147483647;
  prop.maxGridSize[1] = prop.maxGridSize[2] = 65535;
  prop.major = kMajor;
  prop.minor = kMinor;
  prop.multiProcessorCount = kMultiprocessors;
  prop.concurrentKernels = prop.unifiedAddressing = prop.asyncEngineCount = 1;
  prop.memPitch = 2147483647;
  prop.textureAlignment = 512;
  prop.pciBusID = bus_of(device);
  return prop;
}

cudaError_t attribute_of(int* value, cudaDeviceAttr attribute, int device) {
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = kThreadsPerBlock;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(kSharedPerBlock);
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(kSharedPerBlockOptin);
      break;
    case cudaDevAttrWarpSize:
      *value = 32;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = kMultiprocessors;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = kThreadsPerMultiprocessor;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = kMajor;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = kMinor;
      break;
    case cudaDevAttrPciBusId:
      *value = bus_of(device);
      break;
    case cudaDevAttrPciDeviceId:
    case cudaDevAttrPciDomainId:
    case cudaDevAttrMemoryPoolsSupported:
      *value = 0;
      break;
    default:
      return cudaErrorInvalidValue;
  }
  return cudaSuccess;
}

}  // namespace

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  return call("cudaGetDeviceCount", [&] {
    *count = num_devices();
    return *count == 0 ? cudaErrorNoDevice : cudaSuccess;
  });
}

cudaError_t cudaSetDevice(int device) {
  return call("cudaSetDevice", [&] {
    if (!is_device(device)) return cudaErrorInvalidDevice;
    current_device() = device;
    return cudaSuccess;
  });
}

cudaError_t cudaGetDevice(int* device) {
  return call("cudaGetDevice", [&] {
    *device = current_device();
    return num_devices() == 0 ? cudaErrorNoDevice : cudaSuccess;
  });
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp* prop, int device) {
  return call("cudaGetDeviceProperties", [&] {
    if (!is_device(device)) return cudaErrorInvalidDevice;
    *prop = properties_of(device);
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetAttribute(int* value, enum cudaDeviceAttr attribute, int device) {
  return call("cudaDeviceGetAttribute", [&] {
    return is_device(device) ? attribute_of(value, attribute, device) : cudaErrorInvalidDevice;
  });
}

cudaError_t cudaDeviceGetPCIBusId(char* text, int size, int device) {
  return call("cudaDeviceGetPCIBusId", [&] {
    if (!is_device(device)) return cudaErrorInvalidDevice;
    const std::string id = fmt::format("0000:{:02X}:00.0", bus_of(device));
    if (size <= static_cast<int>(id.size())) return cudaErrorInvalidValue;
    std::memcpy(text, id.c_str(), id.size() + 1);
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  return call("cudaDeviceGetStreamPriorityRange", [&] {
    if (least != nullptr) *least = 0;
    if (greatest != nullptr) *greatest = -5;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) {
  return call("cudaDeviceCanAccessPeer", [&] {
    if (!is_device(device) || !is_device(peer)) return cudaErrorInvalidDevice;
    *can = device == peer ? 0 : 1;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned int) {
  return call("cudaDeviceEnablePeerAccess",
              [&] { return is_device(peer) ? cudaSuccess : cudaErrorInvalidDevice; });
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  return call("cudaRuntimeGetVersion", [&] {
    *version = CUDART_VERSION;
    return cudaSuccess;
  });
}

cudaError_t cudaDriverGetVersion(int* version) {
  return call("cudaDriverGetVersion", [&] {
    *version = CUDART_VERSION;
    return cudaSuccess;
  });
}

}  // extern "C"

}  // namespace molora::fake_cuda
