// Grouped experts of a column-parallel linear under sequence parallelism: each rank projects its
// own tokens, and adds to its slice of the outputs what all tokens' values make.
//
// What travels is k * r values of each token and its choices, where densely computed experts send
// E * r (model/parallel_linear.h).
#pragma once

#include <ATen/ATen.h>

#include "model/adapter.h"
#include "model/bottleneck.h"
#include "model/parallel_layout.h"

namespace molora {

using at::Tensor;

struct SequenceExperts {
  const LinearAdapter& adapter;
  Tensor lora_A;           // [E, r, inputs]
  Tensor lora_B;           // [E, r, outputs held]
  AdapterReading reading;  // of the own tokens; u is not needed
};

// out_TO: [all tokens, outputs held], added to in place and returned. x_tD: [own tokens, inputs],
// before the border.
Tensor add_sequence_experts(const Tensor& out_TO, const Tensor& x_tD, const SequenceExperts& of,
                            const ForwardPass& pass);

}  // namespace molora
