// The host functions that stand for the kernels of kernels.cu, by their mangled names.
#include <iterator>
#include <stdexcept>

#include "cuda/runtime/test/kernels.h"
#include "fake_cuda.h"

namespace molora::testing {
namespace {

template <typename T>
T argument(void** args, size_t i) {
  return *static_cast<T*>(args[i]);
}

void add_scaled(dim3 grid, dim3 block, size_t, void** args) {
  auto* const y = argument<float*>(args, 0);
  const auto* const x = argument<const float*>(args, 1);
  const auto factor = argument<float>(args, 2);
  const auto size = argument<int64_t>(args, 3);
  const int64_t threads = int64_t{grid.x} * block.x;
  for (int64_t i = 0; i < threads && i < size; ++i) y[i] += factor * x[i];
}

void fill_struct(dim3, dim3, size_t, void** args) {
  const auto request = argument<FillRequest>(args, 0);
  for (int64_t i = 0; i < request.size; ++i) request.to[i] = request.value;
}

void fails_on_the_host(dim3, dim3, size_t, void**) {
  throw std::runtime_error("two of 32 threads");
}

struct Registered {
  Registered() {
    constexpr size_t kAddScaled[] = {sizeof(float*), sizeof(float*), sizeof(float),
                                     sizeof(int64_t)};
    constexpr size_t kFillStruct[] = {sizeof(FillRequest)};
    fake_cuda_register_kernel("_ZN6molora7testing10add_scaledEPfPKffl", add_scaled, kAddScaled,
                              std::size(kAddScaled));
    fake_cuda_register_kernel("_ZN6molora7testing11fill_structENS0_11FillRequestE", fill_struct,
                              kFillStruct, std::size(kFillStruct));
    fake_cuda_register_kernel("_ZN6molora7testing17fails_on_the_hostEv", fails_on_the_host, nullptr,
                              0);
  }
} registered;

}  // namespace
}  // namespace molora::testing
