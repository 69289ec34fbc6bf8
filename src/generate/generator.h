// Continuing token sequences with a model, several at once, to their ends.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "generate/sequence_batch.h"
#include "model/decoder.h"

namespace molora {

struct Generated {
  std::vector<int32_t> ids;  // new tokens, without the stop token
  GenerationEnd end = GenerationEnd::kMaxNewTokens;
};

// Called with the index of the sequence and each new token as soon as it is chosen; not for stop
// tokens.
using OnToken = std::function<void(size_t, int32_t)>;

// Continues every prompt in one SequenceBatch; result i belongs to prompts[i], whose draws are
// those of number i.
// REQUIRES: no prompt is empty or longer than the model's max_position.
std::vector<Generated> generate(const CausalLM& model,
                                const std::vector<std::vector<int32_t>>& prompts,
                                const GenerationOptions& options, const OnToken& on_token = {});

}  // namespace molora
