// From a tensor to a kernel: starts a body on the stream of the tensor's device.
//
// Included by the .cc files of this folder alone.
#pragma once

#include <type_traits>

#include <ATen/ATen.h>

#include "base/check.h"
#include "device/compute_device.h"
#include "kernels/bodies/number.h"
#include "kernels/cuda/launch.h"

namespace molora {

#if defined(MOLORA_HAS_KERNELS)
constexpr bool kHasKernels = true;
#else
constexpr bool kHasKernels = false;
#endif

// Puts `body` behind the work that the calling thread has given the device so far. All memory that
// it points to is on that device and belongs to its current stream.
template <typename Body>
void start_kernel(const Body& body, at::Device device) {
  if constexpr (kHasKernels) {
    const int error = launch(body, static_cast<CUstream_st*>(compute_stream(device)));
    MOLORA_CHECK(error == 0, "a kernel cannot be started: {}: {}", launch_error_name(error),
                 launch_error_words(error));
  } else {
    MOLORA_CHECK(kHasKernels, "this program was built without CUDA");
  }
}

// The elements as the kernels see them. REQUIRES: contiguous, of this type.
template <typename Number>
Number* kernel_data(const Tensor& tensor) {
  MOLORA_CHECK(tensor.is_contiguous() && tensor.element_size() == sizeof(Number), "{}",
               c10::toString(tensor.scalar_type()));
  return static_cast<Number*>(tensor.data_ptr());
}

template <typename Number>
struct NumberTag {
  using Type = Number;
};

// Calls work(tag) with the kernels' type of `type` as tag's Type: fp32, bf16 or fp64.
template <typename Work>
void for_number_type(at::ScalarType type, const Work& work) {
  switch (type) {
    case at::kFloat:
      return work(NumberTag<float>{});
    case at::kBFloat16:
      return work(NumberTag<BFloat16>{});
    case at::kDouble:
      return work(NumberTag<double>{});
    default:
      MOLORA_CHECK(false, "no kernel takes {}: fp32, bf16 and fp64 are there", c10::toString(type));
  }
}

// The same for what is never bf16.
template <typename Work>
void for_wide_type(at::ScalarType type, const Work& work) {
  MOLORA_CHECK(type == at::kFloat || type == at::kDouble, "no kernel takes {}: fp32 and fp64 do",
               c10::toString(type));
  if (type == at::kFloat) {
    work(NumberTag<float>{});
  } else {
    work(NumberTag<double>{});
  }
}

// The type in which sums over such a tensor are formed: at least fp32.
inline at::ScalarType wide_type(const Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

}  // namespace molora
