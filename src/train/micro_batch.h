// Rows of token ids as the tensors of one forward pass.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/ATen.h>

#include "model/token_batch.h"
#include "train/step_rows.h"

namespace molora {

using at::Tensor;

// On the CPU, as it is made; in page-locked memory where it goes to a GPU.
struct MicroBatch {
  TokenBatch tokens;
  Tensor predictors_N;  // [supervised] int64: the token that predicts each target
  Tensor targets_N;     // [supervised] int64: the target's id
  Tensor sequence_N;    // [supervised] int64: the sequence, in order, that each target belongs to
};

// May be empty: zero tokens, zero targets.
MicroBatch make_micro_batch(std::span<const TrainRow> rows);

// What a rank works through in one step: its rows, and they as tensors.
struct StepInput {
  StepRows rows;
  std::vector<MicroBatch> batches;  // rows.num_micro_steps of them; the last ones may be empty
};
// `device`: where the batches will be copied to.
StepInput make_step_input(StepRows rows, int64_t micro_batch_size, at::Device device);

}  // namespace molora
