#include "checkpoint/training_state.h"

namespace molora {

TensorSlice whole_tensor(const std::string& name, const Tensor& value) {
  return {name, value.detach(), value.sizes().vec(), Shape(static_cast<size_t>(value.dim()), 0),
          value.scalar_type()};
}

}  // namespace molora
