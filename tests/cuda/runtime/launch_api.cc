// What nvcc's host code calls to register and launch kernels, and cudaLaunchKernel itself.
#include <atomic>
#include <cstring>
#include <exception>
#include <utility>
#include <vector>

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "api_call.h"
#include "fake_cuda.h"
#include "kernel_table.h"
#include "report.h"
#include "stream_table.h"

namespace molora::fake_cuda {

namespace {

struct Geometry {
  dim3 grid;
  dim3 block;
  size_t shared_bytes = 0;
};

struct Configuration {
  Geometry geometry;
  cudaStream_t stream = nullptr;
};

thread_local std::vector<Configuration> configurations;  // of <<<>>>, until the stub takes them
std::atomic<uint64_t> num_launches{0};

// The arguments of one launch, copied, with the array of pointers that the kernel gets.
class Arguments {
 public:
  Arguments(const std::vector<size_t>& sizes, void** args) {
    for (size_t i = 0; i < sizes.size(); ++i) {
      const auto* bytes = static_cast<const std::byte*>(args[i]);
      // Vectors of the widest alignment, because arguments may be structures.
      copies_.emplace_back((sizes[i] + sizeof(std::max_align_t) - 1) / sizeof(std::max_align_t));
      std::memcpy(copies_.back().data(), bytes, sizes[i]);
      pointers_.push_back(copies_.back().data());
    }
  }
  void** pointers() { return pointers_.data(); }

 private:
  std::vector<std::vector<std::max_align_t>> copies_;
  std::vector<void*> pointers_;
};

cudaError_t check(const HostStub& stub, const Geometry& geometry) {
  const auto [grid, block, shared_bytes] = geometry;
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  const bool is_empty = threads == 0 || grid.x == 0 || grid.y == 0 || grid.z == 0;
  const bool fits = threads <= 1024 && block.x <= 1024 && block.y <= 1024 && block.z <= 64 &&
                    grid.x <= 2147483647u && grid.y <= 65535 && grid.z <= 65535;
  if (!is_empty && fits && shared_bytes <= stub.max_dynamic_shared_bytes) return cudaSuccess;
  report("launch", fmt::format("kernel {}: grid [{}, {}, {}], block [{}, {}, {}], {} bytes of "
                               "shared memory (at most {})",
                               stub.name, grid.x, grid.y, grid.z, block.x, block.y, block.z,
                               shared_bytes, stub.max_dynamic_shared_bytes));
  return fits && !is_empty ? cudaErrorInvalidValue : cudaErrorInvalidConfiguration;
}

void run(const std::string& name, const Kernel& kernel, const Geometry& geometry,
         Arguments& arguments) {
  if (planned_failure_is_due("kernel")) {
    fail_for_good(cudaErrorIllegalAddress);
    return;
  }
  try {
    kernel.run(geometry.grid, geometry.block, geometry.shared_bytes, arguments.pointers());
  } catch (const std::exception& error) {
    report("kernel", fmt::format("{}: {}", name, error.what()));
    fail_for_good(cudaErrorLaunchFailure);
  }
}

cudaError_t launch(const void* function, const Geometry& geometry, void** args,
                   cudaStream_t handle) {
  const HostStub* stub = kernels().find_stub(function);
  if (stub == nullptr) return cudaErrorInvalidDeviceFunction;
  const auto stream = streams().find(handle, current_device());
  if (!stream) {
    report("dead-stream", fmt::format("kernel {} is launched on a stream that was destroyed or "
                                      "never made",
                                      stub->name));
    return cudaErrorInvalidResourceHandle;
  }
  if (stream->device() != current_device()) {
    report("stream-device", fmt::format("kernel {} is launched with device {} current on a stream "
                                        "of device {}",
                                        stub->name, current_device(), stream->device()));
    return cudaErrorInvalidResourceHandle;
  }
  const cudaError_t error = check(*stub, geometry);
  if (error != cudaSuccess) return error;
  Kernel kernel = kernels().find(stub->name);
  auto arguments = std::make_shared<Arguments>(kernel.arg_sizes, args);
  num_launches.fetch_add(1);
  streams().submit(*stream, [name = stub->name, kernel = std::move(kernel), geometry, arguments] {
    run(name, kernel, geometry, *arguments);
  });
  return cudaSuccess;
}

}  // namespace

extern "C" {

// nvcc's code passes handles around that mean nothing here.
void** __cudaRegisterFatBinary(void*) { return new void*(nullptr); }
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void** handle) { delete handle; }
char __cudaInitModule(void**) { return 1; }

void __cudaRegisterFunction(void**, const char* stub, char*, const char* name, int, uint3*, uint3*,
                            dim3*, dim3*, int*) {
  kernels().add_stub(stub, name);
}

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared_bytes,
                                     struct CUstream_st* stream) {
  configurations.push_back({{grid, block, shared_bytes}, stream});
  return 0;
}

cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared_bytes,
                                       void* stream) {
  return call("__cudaPopCallConfiguration", [&] {
    if (configurations.empty()) return cudaErrorInvalidConfiguration;
    const Configuration& latest = configurations.back();
    *grid = latest.geometry.grid;
    *block = latest.geometry.block;
    *shared_bytes = latest.geometry.shared_bytes;
    *static_cast<cudaStream_t*>(stream) = latest.stream;
    configurations.pop_back();
    return cudaSuccess;
  });
}

cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* stub) {
  return call("__cudaGetKernel", [&] {
    HostStub* found = kernels().find_stub(stub);
    *kernel = reinterpret_cast<cudaKernel_t>(found);
    return found == nullptr ? cudaErrorInvalidDeviceFunction : cudaSuccess;
  });
}

cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** args,
                               size_t shared_bytes, cudaStream_t stream) {
  return call("cudaLaunchKernel", [&] {
    return launch(kernel, {grid, block, shared_bytes}, args, stream);
  });
}

cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** args,
                             size_t shared_bytes, cudaStream_t stream) {
  return call("cudaLaunchKernel", [&] {
    return launch(function, {grid, block, shared_bytes}, args, stream);
  });
}

cudaError_t cudaFuncSetAttribute(const void* function, enum cudaFuncAttribute attribute,
                                 int value) {
  return call("cudaFuncSetAttribute", [&] {
    HostStub* stub = kernels().find_stub(function);
    if (stub == nullptr) return cudaErrorInvalidDeviceFunction;
    if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) return cudaSuccess;
    constexpr int kMost = 227 << 10;
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 || value > kMost) {
      return cudaErrorInvalidValue;
    }
    stub->max_dynamic_shared_bytes = static_cast<size_t>(value);
    return cudaSuccess;
  });
}

void fake_cuda_register_kernel(const char* mangled_name, fake_cuda_kernel run,
                               const size_t* arg_sizes, size_t num_args) {
  kernels().add(mangled_name, Kernel{run, {arg_sizes, arg_sizes + num_args}});
}

uint64_t fake_cuda_num_launches(void) { return num_launches.load(); }

}  // extern "C"

}  // namespace molora::fake_cuda
