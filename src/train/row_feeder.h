// The rows of each optimizer step, from the plans of the epochs: which rows come next is a function
// of the position alone, never of how many ranks there are.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "train/step_rows.h"

namespace molora {

// Where the rows come from.
struct RowSource {
  int64_t num_samples = 0;
  // The rows of an epoch, each a list of samples; a pure function of the epoch.
  std::function<std::vector<std::vector<uint32_t>>(int64_t epoch)> plan;
  // A sample's tokens and which of them are supervised; `sample` of the result is left to us.
  std::function<TrainSequence(uint32_t sample)> fetch;
};

// The next row of a run.
struct RowPosition {
  int64_t epoch = 0;
  int64_t row = 0;
  // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 takes the 0 behind <=> for a pointer
  auto operator<=>(const RowPosition&) const = default;
};

class RowFeeder {
 public:
  // rows_per_step: over all ranks.
  RowFeeder(RowSource source, int64_t rows_per_step);

  // How many steps a run of `num_epochs` passes has that stands at `from` after `steps_done` steps
  // (a fraction of a pass ends within its rows), and where its data ends. Plans every epoch once.
  struct RunLength {
    int64_t num_steps = 0;
    RowPosition end;
  };
  RunLength length_of(double num_epochs, const RowPosition& from, int64_t steps_done);

  // The rows of the next step, at most rows_per_step and none from `end` on, over all ranks; moves
  // `position` past them. A step goes on into the next epoch when one ends within it.
  std::vector<TrainRow> take(RowPosition& position, std::optional<RowPosition> end);

 private:
  const std::vector<std::vector<uint32_t>>& plan_of(int64_t epoch);

  RowSource source_;
  int64_t rows_per_step_;
  int64_t planned_epoch_ = -1;
  std::vector<std::vector<uint32_t>> plan_;
};

}  // namespace molora
