// What a forward pass reads: token sequences laid end to end, without padding.
//
// A sequence sees only itself: attention is block-diagonal over the sequences and positions start
// again at each. Padding does not exist, so it takes part in nothing.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "parallel/shard.h"

namespace molora {

using at::Tensor;

// The task of samples that name none, or of whose tasks nobody asks.
constexpr int64_t kNoTask = -1;

// Which tokens the rows of a matrix are: what dropout masks, drawn experts and routing by task
// depend on.
struct TokenIds {
  Tensor samples_T;    // [tokens] int64
  Tensor positions_T;  // [tokens] int64
  Tensor tasks_T;      // [tokens] int64
};

struct TokenBatch {
  Tensor ids_T;        // [tokens] int64
  Tensor positions_T;  // [tokens] int64, from 0 (or from the cached length) in each sequence
  Tensor samples_T;    // [tokens] int64, which sample of the run a token belongs to (for dropout)
  Tensor tasks_T;      // [tokens] int64, the task of its sample, by the caller's numbers; kNoTask
  // Where each sequence begins, and one past the last token: sequences + 1 entries, from 0.
  std::vector<int64_t> starts;
  Tensor all_4T;        // the four of them in one piece; undefined on the GPU
  Tensor starts_S;      // the same on the GPU, int32; undefined on the CPU
  int64_t longest = 0;  // tokens of the longest sequence

  int64_t num_tokens() const { return ids_T.size(0); }
  int64_t num_sequences() const { return static_cast<int64_t>(starts.size()) - 1; }
};

// A batch of these sequences; sequence i is sample samples[i] of the run, begins at
// first_positions[i] (0 when the vector is empty) and is of task tasks[i] (kNoTask when that vector
// is empty). REQUIRES: sizes match.
//
// On the CPU; on_device() takes it to where the model is.
TokenBatch make_token_batch(const std::vector<std::vector<int32_t>>& sequences,
                            const std::vector<int64_t>& samples,
                            const std::vector<int64_t>& first_positions = {},
                            const std::vector<int64_t>& tasks = {});

TokenIds token_ids(const TokenBatch& batch);
TokenIds token_ids(const TokenBatch& batch, const Slice& tokens);

// The same in page-locked memory, from which copies to a GPU need no other copy before.
TokenBatch in_locked_pages(const TokenBatch& batch);

// The same with its tensors on `device`; the host does not wait for it.
TokenBatch on_device(const TokenBatch& batch, at::Device device);

}  // namespace molora
