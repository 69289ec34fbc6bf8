// One AdamW update of many tensors (train/adamw.h says whose it is).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/ATen.h>

namespace molora {

using at::Tensor;

// A tensor with its state: all of one shape and type (fp32 or fp64), contiguous, on one device.
struct AdamWTensor {
  Tensor value;
  Tensor first;
  Tensor second;
  Tensor gradient;
  // Rows of dimension 0, ascending, whose values and moments stay as they are, to the bit.
  std::vector<int64_t> frozen_rows = {};
};

struct AdamWSettings {
  double learning_rate = 0.0;
  double beta1 = 0.0;
  double beta2 = 0.0;
  double eps = 0.0;
  double weight_decay = 0.0;
  int64_t num_updates = 0;      // this one included
  double gradient_scale = 1.0;  // every gradient is multiplied by it first
};

// Changes values and moments in place. With kernels of a GPU: one for each 80 tensors or runs of
// rows between frozen ones; with the loops of the CPU: one pass over all of them; without: some ten
// operators for each.
void adamw_step(std::span<const AdamWTensor> tensors, const AdamWSettings& settings);

}  // namespace molora
