// Rows of random tokens, for measuring what a step costs without any data.
#pragma once

#include <cstdint>
#include <vector>

#include "train/step_rows.h"

namespace molora {

struct SyntheticRows {
  int64_t row_tokens = 0;
  int64_t sequences_per_row = 1;  // nearly equal parts of a row that do not see each other
  double supervised = 1.0;        // share of the tokens that are in the loss
  int64_t vocab_size = 0;
  uint64_t seed = 0;
};

// The rows of one step, `count` over all ranks: a function of the options and the step alone. The
// first token of a sequence is in no loss, as nothing predicts it; each sequence has at least one
// other that is.
// REQUIRES: two tokens for each sequence.
std::vector<TrainRow> synthetic_rows(const SyntheticRows& options, int64_t count, int64_t step);

}  // namespace molora
