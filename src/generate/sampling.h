// Choosing the next token from logits.
#pragma once

#include <cstdint>
#include <span>

namespace molora {

struct SamplingOptions {
  double temperature = 0.0;  // 0: greedy
  int64_t top_k = 0;         // keep the k most likely tokens; 0: all
  double top_p = 1.0;  // then keep the fewest most likely tokens that have this much probability
  uint64_t seed = 0;
};

// The chosen token. Greedy: the largest logit, the lowest id among equals. Otherwise a draw that is
// a function of the seed, the sequence and the position alone, so that a sequence gets the same
// text whatever else is in its batch. REQUIRES: logits is not empty and finite.
int32_t choose_token(std::span<const float> logits, const SamplingOptions& options,
                     int64_t sequence, int64_t position);

}  // namespace molora
