// The one kernel of the program: a body on the GPU.
#pragma once

#include <cstdint>

#include <climits>
#include <cuda_runtime.h>

#include "kernels/bodies/device_code.h"
#include "kernels/cuda/launch.h"

namespace molora {

// A body's `thread` (kernels/bodies/device_code.h) on the GPU.
struct GpuThread {
  __device__ int index() const { return static_cast<int>(threadIdx.x); }
  __device__ int64_t block() const { return static_cast<int64_t>(blockIdx.x); }
  __device__ void sync() const { __syncthreads(); }
  template <typename Number>
  __device__ Number shuffle_xor(Number value, int mask) const {
    return __shfl_xor_sync(0xffffffffu, value, mask);
  }
  __device__ unsigned ballot(bool flag) const { return __ballot_sync(0xffffffffu, flag); }
  __device__ void fail() const { __trap(); }
};

template <typename Body>
constexpr int least_blocks() {
  if constexpr (requires { Body::kLeastBlocks; }) {
    return Body::kLeastBlocks;
  } else {
    return 0;  // left to the compiler
  }
}

template <typename Body>
__global__ void __launch_bounds__(Body::kThreads, least_blocks<Body>())
    run_kernel(const __grid_constant__ Body body) {
  __shared__ typename Body::Shared shared;
  body(GpuThread{}, shared);
}

template <typename Body>
int launch(const Body& body, CUstream_st* stream) {
  const int64_t blocks = body.num_blocks();
  if (blocks == 0) return cudaSuccess;
  if (blocks > INT_MAX) return cudaErrorInvalidConfiguration;
  // Not <<<>>>, whose outcome is the last error of the thread: that may be another call's.
  void* arguments[] = {const_cast<Body*>(&body)};
  return cudaLaunchKernel(run_kernel<Body>, dim3(static_cast<unsigned>(blocks)),
                          dim3(Body::kThreads), arguments, 0, stream);
}

}  // namespace molora

#define MOLORA_LAUNCH_INSTANCE(...) template int launch(const __VA_ARGS__&, CUstream_st*);
