// Adapters as they are after training: no tensor is zero.
#pragma once

#include "base/philox.h"
#include "model/adapter.h"
#include "tensor/philox_tensor.h"

namespace molora::testing {

// Overwrites every parameter, B included, by uniform numbers that depend on its name and `seed`.
inline void randomize(AdapterSet& adapters, uint64_t seed, double bound = 0.3) {
  const at::NoGradGuard no_grad;
  for (const Parameter& parameter : adapters.parameters()) {
    at::Tensor value = parameter.value.detach();
    fill_uniform(value, bound, philox_key(seed, RandomPurpose::kAdapterInit, parameter.name, 77),
                 0);
  }
}

}  // namespace molora::testing
