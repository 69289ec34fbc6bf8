#include "model/token_batch.h"

#include <algorithm>

#include "base/check.h"
#include "device/compute_device.h"

namespace molora {

namespace {

void point_into(TokenBatch& batch, const Tensor& all_3T) {
  batch.all_3T = all_3T;
  batch.ids_T = all_3T[0];
  batch.positions_T = all_3T[1];
  batch.samples_T = all_3T[2];
}

}  // namespace

TokenBatch make_token_batch(const std::vector<std::vector<int32_t>>& sequences,
                            const std::vector<int64_t>& samples,
                            const std::vector<int64_t>& first_positions) {
  MOLORA_CHECK_EQ(sequences.size(), samples.size());
  MOLORA_CHECK(first_positions.empty() || first_positions.size() == sequences.size());
  TokenBatch batch;
  batch.starts = {0};
  for (const auto& sequence : sequences) {
    const auto length = static_cast<int64_t>(sequence.size());
    batch.starts.push_back(batch.starts.back() + length);
    batch.longest = std::max(batch.longest, length);
  }
  const int64_t num_tokens = batch.starts.back();
  point_into(batch, at::empty({3, num_tokens}, at::kLong));
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

TokenBatch in_locked_pages(const TokenBatch& batch) {
  TokenBatch locked = batch;
  point_into(locked, batch.all_3T.pin_memory());
  return locked;
}

// One copy for the three of them.
TokenBatch on_device(const TokenBatch& batch, at::Device device) {
  if (batch.ids_T.device() == device) return batch;
  const Tensor all_3T = to_device(batch.all_3T, device);
  const Tensor starts_S = to_device(at::tensor(batch.starts, at::kLong).to(at::kInt), device);
  return {all_3T[0], all_3T[1], all_3T[2], batch.starts, {}, starts_S, batch.longest};
}

}  // namespace molora
