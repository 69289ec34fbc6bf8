#include "model/token_batch.h"

#include "base/check.h"

namespace molora {

TokenBatch make_token_batch(const std::vector<std::vector<int32_t>>& sequences,
                            const std::vector<int64_t>& samples,
                            const std::vector<int64_t>& first_positions) {
  MOLORA_CHECK_EQ(sequences.size(), samples.size());
  MOLORA_CHECK(first_positions.empty() || first_positions.size() == sequences.size());
  TokenBatch batch;
  batch.starts = {0};
  for (const auto& sequence : sequences) {
    batch.starts.push_back(batch.starts.back() + static_cast<int64_t>(sequence.size()));
  }
  const int64_t num_tokens = batch.starts.back();
  batch.ids_T = at::empty(num_tokens, at::kLong);
  batch.positions_T = at::empty(num_tokens, at::kLong);
  batch.samples_T = at::empty(num_tokens, at::kLong);
  auto* ids = batch.ids_T.data_ptr<int64_t>();
  auto* positions = batch.positions_T.data_ptr<int64_t>();
  auto* sample_of = batch.samples_T.data_ptr<int64_t>();
  for (size_t s = 0; s < sequences.size(); ++s) {
    int64_t position = first_positions.empty() ? 0 : first_positions[s];
    for (const int32_t id : sequences[s]) {
      *ids++ = id;
      *positions++ = position++;
      *sample_of++ = samples[s];
    }
  }
  return batch;
}

}  // namespace molora
