// What LibTorch's CPU library asks about CUDA, and page-locked memory.
//
// LibTorch asks its registry for a class of the name CUDAHooks, once in the life of the process:
// the library must be there before anything asks whether there is a GPU.

#include <ATen/detail/CUDAHooksInterface.h>

#include "device_memory.h"
#include "host_syncs.h"
#include "runtime_call.h"
#include "streams.h"

namespace molora::fake_torch {

namespace {

struct CUDAHooks final : public at::CUDAHooksInterface {
  explicit CUDAHooks(at::CUDAHooksArgs) {}

  void init() const override { FAKE_TORCH_CHECK(cudaSetDevice(current_device())); }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return hasCUDA(); }
  bool hasCUDA() const override { return device_count() > 0; }
  bool hasCUDART() const override { return true; }
  // The engine of autograd asks for streams of such devices only.
  bool hasPrimaryContext(at::DeviceIndex device) const override { return device < device_count(); }
  int getNumGPUs() const override { return device_count(); }
  at::DeviceIndex deviceCount() const override { return device_count(); }

  at::DeviceIndex current_device() const override { return molora::fake_torch::current_device(); }
  at::DeviceIndex getCurrentDevice() const override { return molora::fake_torch::current_device(); }
  void setCurrentDevice(at::DeviceIndex device) const override {
    FAKE_TORCH_CHECK(cudaSetDevice(device));
  }
  at::DeviceIndex exchangeDevice(at::DeviceIndex device) const override {
    const at::DeviceIndex before = molora::fake_torch::current_device();
    FAKE_TORCH_CHECK(cudaSetDevice(device));
    return before;
  }
  at::DeviceIndex maybeExchangeDevice(at::DeviceIndex device) const override {
    return exchangeDevice(device);
  }
  void deviceSynchronize(at::DeviceIndex device) const override {
    note_host_sync("synchronizing a device");
    const at::DeviceIndex before = exchangeDevice(device);
    FAKE_TORCH_CHECK(cudaDeviceSynchronize());
    setCurrentDevice(before);
  }

  bool isPinnedPtr(const void* data) const override { return is_pinned(data); }
  at::Allocator* getPinnedMemoryAllocator() const override { return pinned_allocator(); }
  at::Allocator* getCUDADeviceAllocator() const override { return device_allocator(); }
  at::Device getDeviceFromPtr(void* data) const override { return device_of(data); }
  std::string showConfig() const override { return "fake CUDA device of host memory\n"; }
};

}  // namespace

}  // namespace molora::fake_torch

namespace at {
using molora::fake_torch::CUDAHooks;
REGISTER_CUDA_HOOKS(CUDAHooks);
}  // namespace at
