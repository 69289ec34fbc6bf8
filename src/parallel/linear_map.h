// A linear map with its transpose as one differentiable operation.
//
// Every collective that activations go through is linear: its backward pass is another collective,
// the transpose. Here the two stand side by side, so that parallel/regions.h is a table of pairs.
#pragma once

#include <functional>

#include <ATen/ATen.h>

namespace molora {

using at::Tensor;

struct LinearMap {
  std::function<Tensor(const Tensor&)> forward;
  std::function<Tensor(const Tensor&)>
      transpose;  // of the gradient; called with no gradient recorded
};

// forward(x); in the backward pass x's gradient is transpose(gradient). Whatever the functions
// capture must outlive the backward pass. Neither may return its argument's own storage changed.
Tensor apply_linear_map(const Tensor& x, const LinearMap& map);

}  // namespace molora
