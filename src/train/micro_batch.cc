#include "train/micro_batch.h"

#include <vector>

#include "base/check.h"

namespace molora {

MicroBatch make_micro_batch(std::span<const TrainRow> rows) {
  std::vector<std::vector<int32_t>> sequences;
  std::vector<int64_t> samples;
  std::vector<int64_t> predictors;
  std::vector<int64_t> targets;
  std::vector<int64_t> sequence_of;
  int64_t begin = 0;
  for (const TrainRow& row : rows) {
    for (const TrainSequence& sequence : row) {
      MOLORA_CHECK_EQ(sequence.ids.size(), sequence.supervised.size());
      for (size_t t = 1; t < sequence.ids.size(); ++t) {
        if (sequence.supervised[t] == 0) continue;
        predictors.push_back(begin + static_cast<int64_t>(t) - 1);
        targets.push_back(sequence.ids[t]);
        sequence_of.push_back(static_cast<int64_t>(sequences.size()));
      }
      begin += static_cast<int64_t>(sequence.ids.size());
      sequences.push_back(sequence.ids);
      samples.push_back(sequence.sample);
    }
  }
  return {make_token_batch(sequences, samples), at::tensor(predictors, at::kLong),
          at::tensor(targets, at::kLong), at::tensor(sequence_of, at::kLong)};
}

}  // namespace molora
