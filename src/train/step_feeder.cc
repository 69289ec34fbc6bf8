#include "train/step_feeder.h"

#include <utility>

#include "base/no_signals.h"

namespace molora {

StepInput StepFeeder::take(RowPosition& position) {
  const bool is_ahead = ahead_.valid();
  const bool is_wanted = is_ahead && ahead_of_ == position;
  if (is_ahead && !is_wanted) ahead_.wait();
  Made made = is_wanted ? ahead_.get() : make(position);
  ahead_ = {};
  position = made.next;
  return std::move(made.input);
}

void StepFeeder::make_ahead(const RowPosition& position) {
  if (ahead_.valid()) ahead_.wait();
  ahead_of_ = position;
  const NoSignals no_signals;
  ahead_ = std::async(std::launch::async, [this, position] { return make(position); });
}

StepFeeder::Made StepFeeder::make(RowPosition position) {
  StepRows rows = deal_rows(rows_.take(position, options_.end), options_.dp_rank, options_.dp,
                            options_.micro_batch_size);
  return {make_step_input(std::move(rows), options_.micro_batch_size, options_.device), position};
}

}  // namespace molora
