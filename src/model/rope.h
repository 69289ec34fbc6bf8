// Rotary position embedding: each pair of channels of a head is turned by an angle that grows with
// the position (Su et al. 2021, arXiv 2104.09864), in the half-split layout of the published
// models.
#pragma once

#include <ATen/ATen.h>

#include "model/architecture.h"

namespace molora {

using at::Tensor;

// The rotations of the tokens of one batch.
//   T tokens on this rank, A head size
struct RotaryTables {
  Tensor cos_TA;  // [tokens, head_dim]
  Tensor sin_TA;
};

// The angle per position of each pair of channels: [head_dim / 2], fp32 (fp64 when `type` is fp64),
// with the frequency scaling of Llama 3.1 when the architecture has it.
Tensor rotary_frequencies(const Architecture& architecture, at::ScalarType type);

// positions_T: [tokens] int64. The angles are computed in the precision of `frequencies` and the
// tables given in `type`, as the reference does.
RotaryTables rotary_tables(const Tensor& frequencies, const Tensor& positions_T,
                           at::ScalarType type);

// x_THA: [tokens, heads, head_dim]. Returns the same shape.
Tensor apply_rotary(const Tensor& x_THA, const RotaryTables& tables);

}  // namespace molora
