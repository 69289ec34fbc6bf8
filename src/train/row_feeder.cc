#include "train/row_feeder.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"

namespace molora {

RowFeeder::RowFeeder(RowSource source, int64_t rows_per_step)
    : source_(std::move(source)), rows_per_step_(rows_per_step) {
  MOLORA_CHECK(rows_per_step_ > 0, "rows per step: {}", rows_per_step_);
  MOLORA_CHECK(source_.num_samples > 0, "there are no samples to feed");
}

const std::vector<std::vector<uint32_t>>& RowFeeder::plan_of(int64_t epoch) {
  if (epoch != planned_epoch_) {
    plan_ = source_.plan(epoch);
    MOLORA_CHECK(!plan_.empty(), "the plan of epoch {} has no rows", epoch);
    planned_epoch_ = epoch;
  }
  return plan_;
}

RowFeeder::RunLength RowFeeder::length_of(double num_epochs, const RowPosition& from,
                                          int64_t steps_done) {
  MOLORA_CHECK(num_epochs > 0.0, "epochs: {}", num_epochs);
  RunLength length;
  const auto whole = static_cast<int64_t>(std::floor(num_epochs));
  const double fraction = num_epochs - static_cast<double>(whole);
  length.end = {whole, 0};
  if (fraction > 0.0) {
    const auto rows = static_cast<double>(plan_of(whole).size());
    length.end.row = static_cast<int64_t>(std::ceil(fraction * rows));
  }
  int64_t rows = length.end.row;
  for (int64_t epoch = from.epoch; epoch < whole; ++epoch) {
    rows += static_cast<int64_t>(plan_of(epoch).size());
  }
  rows -= from.epoch < whole ? std::min(from.row, static_cast<int64_t>(plan_of(from.epoch).size()))
                             : from.row;
  length.num_steps =
      steps_done + (std::max<int64_t>(0, rows) + rows_per_step_ - 1) / rows_per_step_;
  return length;
}

std::vector<TrainRow> RowFeeder::take(RowPosition& position, std::optional<RowPosition> end) {
  std::vector<TrainRow> rows;
  while (static_cast<int64_t>(rows.size()) < rows_per_step_ && (!end || position < *end)) {
    const auto& plan = plan_of(position.epoch);
    // A position of a checkpoint may lie beyond its epoch when the data have changed since.
    if (position.row >= static_cast<int64_t>(plan.size())) {
      position = {position.epoch + 1, 0};
      continue;
    }
    TrainRow row;
    for (const uint32_t sample : plan[static_cast<size_t>(position.row)]) {
      row.push_back(source_.fetch(sample));
      row.back().sample = position.epoch * source_.num_samples + sample;
    }
    rows.push_back(std::move(row));
    if (++position.row == static_cast<int64_t>(plan.size())) position = {position.epoch + 1, 0};
  }
  return rows;
}

}  // namespace molora
