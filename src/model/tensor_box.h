// A box of a tensor: which part of a whole tensor is meant.
#pragma once

#include "io/safetensors.h"

namespace molora {

// `shape` elements from `offset` on, dim by dim; both as long as the whole tensor's shape.
struct TensorBox {
  Shape offset;
  Shape shape;
  bool operator==(const TensorBox&) const = default;
};

}  // namespace molora
