// Adapters as they are after training: no tensor is zero.
#pragma once

#include "base/philox.h"
#include "model/adapter.h"
#include "tensor/philox_tensor.h"

namespace molora::testing {

// The slice of a whole tensor that a parameter is.
inline at::Tensor slice_of(const at::Tensor& whole, const Parameter& parameter) {
  at::Tensor slice = whole;
  for (int64_t d = 0; d < whole.dim(); ++d) {
    const int64_t begin = parameter.offset[static_cast<size_t>(d)];
    slice = slice.slice(d, begin, begin + parameter.value.size(d));
  }
  return slice;
}

// Overwrites every parameter, B included, by uniform numbers that depend on its name and `seed`;
// every layout gets slices of the same whole.
inline void randomize(AdapterSet& adapters, uint64_t seed, double bound = 0.3) {
  const at::NoGradGuard no_grad;
  for (const Parameter& parameter : adapters.parameters()) {
    at::Tensor whole =
        at::empty(parameter.global_shape, parameter.value.options().device(at::kCPU));
    fill_uniform(whole, bound, philox_key(seed, RandomPurpose::kAdapterInit, parameter.name, 77),
                 0);
    parameter.value.detach().copy_(slice_of(whole, parameter));
  }
}

}  // namespace molora::testing
