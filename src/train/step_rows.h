// The rows that one rank works through in one optimizer step.
#pragma once

#include <cstdint>
#include <vector>

namespace molora {

// One sample: its tokens and which of them are in the loss (as targets: supervised[0] counts for
// nothing, because nothing predicts the first token).
struct TrainSequence {
  std::vector<int32_t> ids;
  std::vector<uint8_t> supervised;
  int64_t sample = 0;   // which sample of the run this is; equal on every layout, unique in the run
  int64_t task = -1;    // by the number of its task in the training data; kNoTask (model): unknown
  int64_t script = -1;  // by the number of what it is written in; -1: unknown
};

// Sequences that are worked on together; they do not see each other.
using TrainRow = std::vector<TrainSequence>;

// A sample of a step, as every rank knows it.
struct StepSample {
  int64_t sample = 0;  // as TrainSequence has them
  int64_t task = -1;
  int64_t script = -1;
};

struct StepRows {
  std::vector<TrainRow> rows;  // of this rank
  // Forward and backward passes of this step, the same number on every rank; ranks with fewer rows
  // go through the remaining ones without tokens.
  int64_t num_micro_steps = 1;
  // Of the whole step, over all ranks; every rank knows them from the plan.
  int64_t step_tokens = 0;
  int64_t step_supervised = 0;
  int64_t step_samples = 0;
  std::vector<StepSample> samples = {};  // by their numbers, ascending
};

// How many tokens of a sequence are in the loss.
int64_t count_supervised(const TrainSequence& sequence);

// Deals the rows of a step out: row i goes to rank i % num_ranks.
StepRows deal_rows(std::vector<TrainRow> all_rows, int rank, int num_ranks,
                   int64_t micro_batch_size);

}  // namespace molora
