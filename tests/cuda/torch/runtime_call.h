// Calls of the CUDA runtime that must succeed.
#pragma once

#include <c10/util/Exception.h>
#include <cuda_runtime_api.h>

namespace molora::fake_torch {

// Throws c10::Error in LibTorch's words unless `status` is success.
inline void check_cuda(cudaError_t status, const char* call) {
  TORCH_CHECK(status == cudaSuccess, "CUDA error: ", cudaGetErrorString(status), " (", call, ")");
}

// A query that was answered "not yet" leaves that as the thread's last error; LibTorch clears it.
inline bool is_done_yet(cudaError_t status, const char* call) {
  if (status == cudaErrorNotReady) {
    (void)cudaGetLastError();
    return false;
  }
  check_cuda(status, call);
  return true;
}

// As LibTorch does after it has started a kernel: whatever error the thread has left is taken for
// the kernel's.
inline void check_launch() { check_cuda(cudaGetLastError(), "left by an earlier call"); }

}  // namespace molora::fake_torch

#define FAKE_TORCH_CHECK(call) ::molora::fake_torch::check_cuda((call), #call)
