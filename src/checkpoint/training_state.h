// What a run must remember, as named global tensors and its progress.
#pragma once

#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "checkpoint.pb.h"
#include "io/safetensors.h"

namespace molora {

using at::Tensor;

// The part of a global tensor that this rank holds; `value` shares storage with its owner, so that
// loading writes into it. Undefined: only other ranks hold parts of this tensor.
struct TensorSlice {
  std::string name;
  Tensor value;
  Shape global_shape;
  Shape offset;  // of value in the global tensor, one entry per dimension
  at::ScalarType type = at::kFloat;
};

// A tensor that this rank holds whole.
TensorSlice whole_tensor(const std::string& name, const Tensor& value);

// The same tensors in the same order on every rank, whichever parts it holds.
struct TrainingState {
  std::vector<TensorSlice> adapter;
  std::vector<TensorSlice> optimizer;
  Progress progress;
};

}  // namespace molora
