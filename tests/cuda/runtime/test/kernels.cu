// Kernels of the tests, compiled by nvcc; kernels_on_host.cc says what they do on the host.
#include "kernels.h"

namespace molora::testing {

__global__ void add_scaled(float* y, const float* x, float factor, int64_t size) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < size) y[i] += factor * x[i];
}

__global__ void fill_struct(FillRequest request) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < request.size) request.to[i] = request.value;
}

__global__ void fails_on_the_host() {}

__global__ void is_not_on_the_host() {}

cudaError_t launch_add_scaled(const AddScaled& work, Geometry geometry, cudaStream_t stream) {
  add_scaled<<<geometry.grid, geometry.block, geometry.shared_bytes, stream>>>(
      work.y, work.x, work.factor, work.size);
  return cudaGetLastError();
}

cudaError_t allow_shared_memory(int bytes) {
  return cudaFuncSetAttribute(add_scaled, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

cudaError_t launch_fill_struct(const FillRequest& request, cudaStream_t stream) {
  fill_struct<<<4, 32, 0, stream>>>(request);
  return cudaGetLastError();
}

cudaError_t launch_fails_on_the_host(cudaStream_t stream) {
  fails_on_the_host<<<1, 1, 0, stream>>>();
  return cudaGetLastError();
}

cudaError_t launch_is_not_on_the_host(cudaStream_t stream) {
  is_not_on_the_host<<<1, 1, 0, stream>>>();
  return cudaGetLastError();
}

}  // namespace molora::testing
