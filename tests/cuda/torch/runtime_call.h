// Calls of the CUDA runtime that must succeed.
#pragma once

#include <c10/util/Exception.h>
#include <cuda_runtime_api.h>

namespace molora::fake_torch {

// Throws c10::Error in LibTorch's words unless `status` is success.
inline void check_cuda(cudaError_t status, const char* call) {
  TORCH_CHECK(status == cudaSuccess, "CUDA error: ", cudaGetErrorString(status), " (", call, ")");
}

}  // namespace molora::fake_torch

#define FAKE_TORCH_CHECK(call) ::molora::fake_torch::check_cuda((call), #call)
