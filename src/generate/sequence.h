// A token sequence to be continued, and what one step does to it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "generate/sampling.h"

namespace molora {

struct GenerationOptions {
  SamplingOptions sampling;
  int64_t max_new_tokens = 256;
  std::vector<int32_t> stop_ids;  // a sequence ends when one of these is chosen
  int64_t task = -1;              // of adapters that route by task (AdapterSet::task_number)
};

// Why a sequence ended.
enum class GenerationEnd {
  kStopToken,
  kMaxNewTokens,
  kModelLimit,  // max_position of the model
};

// A sequence to be continued.
struct NewSequence {
  uint64_t key = 0;  // what its tokens are known by; no two in a batch have the same
  std::vector<int32_t> prompt;
  GenerationOptions options;
  // Which of the sequences of one seed it is: a part of what its draws depend on.
  int64_t draw = 0;
};

// What a step did to one sequence.
struct NewToken {
  uint64_t key = 0;
  std::optional<int32_t> token;      // none: a stop token was chosen, which is not part of the text
  std::optional<GenerationEnd> end;  // the sequence has left the batch
};

}  // namespace molora
