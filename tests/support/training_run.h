// A small training run on any number of rank threads, for tests that compare layouts.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "base/philox.h"
#include "comm/thread_communicator.h"
#include "support/loaded_model.h"
#include "support/random_adapters.h"
#include "train/train_step.h"

namespace molora::testing {

struct RunShape {
  int num_ranks = 1;
  uint32_t micro_batch_size = 1000;
  TrainConfig::Recompute recompute = TrainConfig::none;
  at::ScalarType type = at::kDouble;
};

struct RunOutcome {
  std::vector<StepResult> steps;
  std::vector<at::Tensor> parameters;       // after the last step
  std::vector<at::Tensor> first_gradients;  // of the first step, before clipping
};

// Rows of random samples of random lengths, some rows packed; the same for the same arguments.
// Samples are numbered from first_sample.
inline std::vector<TrainRow> random_rows(int64_t num_rows, int64_t first_sample, int32_t vocab) {
  std::vector<TrainRow> rows;
  int64_t sample = first_sample;
  for (int64_t r = 0; r < num_rows; ++r) {
    TrainRow row;
    const auto per_row = 1 + philox_below(17, static_cast<uint64_t>(sample), 3);
    for (uint32_t s = 0; s < per_row; ++s, ++sample) {
      TrainSequence sequence;
      sequence.sample = sample;
      const auto length = 2 + philox_below(18, static_cast<uint64_t>(sample), 9);
      for (uint32_t t = 0; t < length; ++t) {
        const auto index = static_cast<uint64_t>(sample) * 64 + t;
        sequence.ids.push_back(
            static_cast<int32_t>(philox_below(19, index, static_cast<uint64_t>(vocab))));
        sequence.supervised.push_back(philox_below(20, index, 3) > 0 || t + 1 == length ? 1 : 0);
      }
      row.push_back(sequence);
    }
    rows.push_back(row);
  }
  return rows;
}

// Trains `num_steps` steps of `rows_per_step` rows, from adapters without a zero anywhere.
inline RunOutcome train_on_threads(const std::filesystem::path& model, const AdapterConfig& adapter,
                                   const RunShape& shape, int64_t num_steps,
                                   int64_t rows_per_step) {
  RunOutcome outcome;
  run_rank_threads(shape.num_ranks, [&](Communicator& communicator) {
    LoadedModel loaded(model, adapter, shape.type);
    randomize(loaded.adapters(), 21, 0.1);
    TrainConfig train;
    train.set_micro_batch_size(shape.micro_batch_size);
    train.set_activation_checkpointing(shape.recompute);
    train.set_clip_norm(0.5);
    AdamW optimizer(loaded.adapters().parameters(), train);
    TrainStep step({loaded.model(), loaded.adapters(), communicator, optimizer},
                   {train, adapter.router(), 33});
    const auto vocab = static_cast<int32_t>(loaded.architecture().vocab_size);
    for (int64_t i = 0; i < num_steps; ++i) {
      const auto rows = random_rows(rows_per_step, 1000 * i, vocab);
      const StepResult result = step.run(
          i, deal_rows(rows, communicator.rank(), communicator.size(), shape.micro_batch_size),
          1e-3);
      if (communicator.rank() == 0) {
        outcome.steps.push_back(result);
        if (i == 0) {
          for (const at::Tensor& g : step.gradients()) outcome.first_gradients.push_back(g.clone());
        }
      }
    }
    if (communicator.rank() == 0) {
      for (const Parameter& parameter : loaded.adapters().parameters()) {
        outcome.parameters.push_back(parameter.value.detach().clone());
      }
    }
  });
  return outcome;
}

}  // namespace molora::testing
