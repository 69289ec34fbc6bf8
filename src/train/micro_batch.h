// Rows of token ids as the tensors of one forward pass.
#pragma once

#include <cstdint>
#include <span>

#include <ATen/ATen.h>

#include "model/token_batch.h"
#include "train/step_rows.h"

namespace molora {

using at::Tensor;

// On the CPU, as it is made.
struct MicroBatch {
  TokenBatch tokens;
  Tensor predictors_N;  // [supervised] int64: the token that predicts each target
  Tensor targets_N;     // [supervised] int64: the target's id
  Tensor sequence_N;    // [supervised] int64: the sequence, in order, that each target belongs to
};

// May be empty: zero tokens, zero targets.
MicroBatch make_micro_batch(std::span<const TrainRow> rows);

}  // namespace molora
