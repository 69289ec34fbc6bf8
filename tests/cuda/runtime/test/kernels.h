// Launchers of the tests' kernels (kernels.cu).
#pragma once

#include <cstddef>
#include <cstdint>

#include <cuda_runtime_api.h>

namespace molora::testing {

struct Geometry {
  dim3 grid{4};
  dim3 block{32};
  size_t shared_bytes = 0;
};

// y += factor * x.
struct AddScaled {
  float* y;
  const float* x;
  float factor;
  int64_t size;
};
cudaError_t launch_add_scaled(const AddScaled& work, Geometry geometry, cudaStream_t stream);
cudaError_t allow_shared_memory(int bytes);  // for add_scaled

// A structure as an argument.
struct FillRequest {
  float* to;
  int64_t size;
  float value;
};
cudaError_t launch_fill_struct(const FillRequest& request, cudaStream_t stream);

cudaError_t launch_fails_on_the_host(cudaStream_t stream);   // throws
cudaError_t launch_is_not_on_the_host(cudaStream_t stream);  // was never registered

}  // namespace molora::testing
