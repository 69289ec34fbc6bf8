#include "worker/synthetic_rows.h"

#include "base/check.h"
#include "base/philox.h"

namespace molora {

namespace {

TrainSequence synthetic_sequence(const SyntheticRows& options, int64_t length, int64_t sample) {
  const uint64_t key = philox_key(options.seed, RandomPurpose::kSampling, "synthetic tokens",
                                  static_cast<uint64_t>(sample));
  TrainSequence sequence;
  sequence.sample = sample;
  for (int64_t t = 0; t < length; ++t) {
    const auto index = static_cast<uint64_t>(t);
    sequence.ids.push_back(static_cast<int32_t>(
        philox_below(key, 2 * index, static_cast<uint64_t>(options.vocab_size))));
    const uint32_t word =
        philox_4x32_10(key, {static_cast<uint32_t>(t), 0, 0, /*another stream*/ 1})[0];
    const bool is_last = t + 1 == length;
    sequence.supervised.push_back(is_last || philox_unit(word) < options.supervised ? 1 : 0);
  }
  return sequence;
}

}  // namespace

std::vector<TrainRow> synthetic_rows(const SyntheticRows& options, int64_t count, int64_t step) {
  MOLORA_CHECK(options.row_tokens >= 2 * options.sequences_per_row, "{} tokens in {} sequences",
               options.row_tokens, options.sequences_per_row);
  std::vector<TrainRow> rows(static_cast<size_t>(count));
  int64_t sample = step * count * options.sequences_per_row;
  for (TrainRow& row : rows) {
    for (int64_t s = 0; s < options.sequences_per_row; ++s, ++sample) {
      const int64_t begin = options.row_tokens * s / options.sequences_per_row;
      const int64_t end = options.row_tokens * (s + 1) / options.sequences_per_row;
      row.push_back(synthetic_sequence(options, end - begin, sample));
    }
  }
  return rows;
}

}  // namespace molora
