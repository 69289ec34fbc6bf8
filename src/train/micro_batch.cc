#include "train/micro_batch.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/check.h"

namespace molora {

namespace {

// The rows of micro-step m; empty when this rank has fewer.
std::span<const TrainRow> rows_of(const StepRows& rows, int64_t m, int64_t micro_batch_size) {
  const std::span<const TrainRow> all(rows.rows);
  const auto begin = std::min(all.size(), static_cast<size_t>(m * micro_batch_size));
  const auto end = std::min(all.size(), begin + static_cast<size_t>(micro_batch_size));
  return all.subspan(begin, end - begin);
}

// Page-locked, so that the copy to the GPU later is one and nobody waits for it.
void lock_pages(MicroBatch& batch) {
  batch.tokens = in_locked_pages(batch.tokens);
  batch.predictors_N = batch.predictors_N.pin_memory();
  batch.targets_N = batch.targets_N.pin_memory();
}

}  // namespace

MicroBatch make_micro_batch(std::span<const TrainRow> rows) {
  std::vector<std::vector<int32_t>> sequences;
  std::vector<int64_t> samples;
  std::vector<int64_t> tasks;
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
      tasks.push_back(sequence.task);
    }
  }
  return {make_token_batch(sequences, samples, {}, tasks), at::tensor(predictors, at::kLong),
          at::tensor(targets, at::kLong), at::tensor(sequence_of, at::kLong)};
}

StepInput make_step_input(StepRows rows, int64_t micro_batch_size, at::Device device) {
  StepInput input{std::move(rows), {}};
  for (int64_t m = 0; m < input.rows.num_micro_steps; ++m) {
    input.batches.push_back(make_micro_batch(rows_of(input.rows, m, micro_batch_size)));
    if (!device.is_cpu()) lock_pages(input.batches.back());
  }
  return input;
}

}  // namespace molora
