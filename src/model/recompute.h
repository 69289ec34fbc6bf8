// Activation checkpointing: keep the input of a piece of the network, compute the rest again in the
// backward pass (Chen et al. 2016, arXiv 1604.06174). Same numbers, less memory, more arithmetic.
#pragma once

#include <functional>
#include <vector>

#include <ATen/ATen.h>

#include "run_config.pb.h"

namespace molora {

using at::Tensor;

using RecomputedFunction = std::function<Tensor(const std::vector<Tensor>&)>;

// Returns function(inputs) and stores only `inputs`. In the backward pass `function` runs once more
// and its gradient goes to the inputs and, by the usual accumulation, to every trained tensor that
// it uses. It must be a pure function: same inputs, same result, including random masks and
// routing. Without recorded gradients it is simply called.
//
// Trained tensors used inside get their gradient even when no input requires one (the first layer
// over a frozen embedding).
Tensor recompute_in_backward(const RecomputedFunction& function, const std::vector<Tensor>& inputs);

// The same with `selective` recomputation, for what is cheap in arithmetic but large in memory;
// else, and where no input has a gradient, the function is simply called.
Tensor recompute_where_selective(TrainConfig::Recompute recompute,
                                 const std::vector<Tensor>& inputs,
                                 const RecomputedFunction& function);

}  // namespace molora
