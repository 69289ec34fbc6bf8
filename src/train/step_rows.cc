#include "train/step_rows.h"

#include <algorithm>
#include <utility>

namespace molora {

int64_t count_supervised(const TrainSequence& sequence) {
  if (sequence.supervised.empty()) return 0;
  return std::count_if(sequence.supervised.begin() + 1, sequence.supervised.end(),
                       [](uint8_t flag) { return flag != 0; });
}

StepRows deal_rows(std::vector<TrainRow> all_rows, int rank, int num_ranks,
                   int64_t micro_batch_size) {
  StepRows mine;
  for (size_t i = 0; i < all_rows.size(); ++i) {
    for (const TrainSequence& sequence : all_rows[i]) {
      mine.step_tokens += static_cast<int64_t>(sequence.ids.size());
      mine.step_supervised += count_supervised(sequence);
      ++mine.step_samples;
      mine.samples.push_back({sequence.sample, sequence.task, sequence.script});
    }
    if (i % static_cast<size_t>(num_ranks) == static_cast<size_t>(rank)) {
      mine.rows.push_back(std::move(all_rows[i]));
    }
  }
  std::sort(mine.samples.begin(), mine.samples.end(),
            [](const StepSample& a, const StepSample& b) { return a.sample < b.sample; });
  const auto most_rows =
      (static_cast<int64_t>(all_rows.size()) + num_ranks - 1) / static_cast<int64_t>(num_ranks);
  mine.num_micro_steps =
      std::max<int64_t>(1, (most_rows + micro_batch_size - 1) / micro_batch_size);
  return mine;
}

}  // namespace molora
