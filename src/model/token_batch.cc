#include "model/token_batch.h"

#include <algorithm>

#include "base/check.h"
#include "device/compute_device.h"

namespace molora {

namespace {

void point_into(TokenBatch& batch, const Tensor& all_4T) {
  batch.all_4T = all_4T;
  batch.ids_T = all_4T[0];
  batch.positions_T = all_4T[1];
  batch.samples_T = all_4T[2];
  batch.tasks_T = all_4T[3];
}

}  // namespace

TokenBatch make_token_batch(const std::vector<std::vector<int32_t>>& sequences,
                            const std::vector<int64_t>& samples,
                            const std::vector<int64_t>& first_positions,
                            const std::vector<int64_t>& tasks) {
  MOLORA_CHECK_EQ(sequences.size(), samples.size());
  MOLORA_CHECK(first_positions.empty() || first_positions.size() == sequences.size());
  MOLORA_CHECK(tasks.empty() || tasks.size() == sequences.size());
  TokenBatch batch;
  batch.starts = {0};
  for (const auto& sequence : sequences) {
    const auto length = static_cast<int64_t>(sequence.size());
    batch.starts.push_back(batch.starts.back() + length);
    batch.longest = std::max(batch.longest, length);
  }
  const int64_t num_tokens = batch.starts.back();
  point_into(batch, at::empty({4, num_tokens}, at::kLong));
  auto* ids = batch.ids_T.data_ptr<int64_t>();
  auto* positions = batch.positions_T.data_ptr<int64_t>();
  auto* sample_of = batch.samples_T.data_ptr<int64_t>();
  auto* task_of = batch.tasks_T.data_ptr<int64_t>();
  for (size_t s = 0; s < sequences.size(); ++s) {
    int64_t position = first_positions.empty() ? 0 : first_positions[s];
    for (const int32_t id : sequences[s]) {
      *ids++ = id;
      *positions++ = position++;
      *sample_of++ = samples[s];
      *task_of++ = tasks.empty() ? kNoTask : tasks[s];
    }
  }
  return batch;
}

TokenIds token_ids(const TokenBatch& batch) {
  return {batch.samples_T, batch.positions_T, batch.tasks_T};
}

TokenIds token_ids(const TokenBatch& batch, const Slice& tokens) {
  return {batch.samples_T.slice(0, tokens.begin, tokens.end()),
          batch.positions_T.slice(0, tokens.begin, tokens.end()),
          batch.tasks_T.slice(0, tokens.begin, tokens.end())};
}

TokenBatch in_locked_pages(const TokenBatch& batch) {
  TokenBatch locked = batch;
  point_into(locked, batch.all_4T.pin_memory());
  return locked;
}

// One copy for the four of them.
TokenBatch on_device(const TokenBatch& batch, at::Device device) {
  if (batch.ids_T.device() == device) return batch;
  const Tensor all_4T = to_device(batch.all_4T, device);
  const Tensor starts_S = to_device(at::tensor(batch.starts, at::kLong).to(at::kInt), device);
  TokenBatch placed = batch;
  point_into(placed, all_4T);
  placed.all_4T = Tensor();
  placed.starts_S = starts_S;
  return placed;
}

}  // namespace molora
