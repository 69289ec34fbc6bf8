#include <cuda_runtime_api.h>

#include "kernels/cuda/launch.h"

namespace molora {

const char* launch_error_name(int error) {
  return cudaGetErrorName(static_cast<cudaError_t>(error));
}

const char* launch_error_words(int error) {
  return cudaGetErrorString(static_cast<cudaError_t>(error));
}

}  // namespace molora
