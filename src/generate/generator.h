// Continuing token sequences with a model, several at once, with cached keys and values.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "generate/sampling.h"
#include "model/decoder.h"

namespace molora {

struct GenerationOptions {
  SamplingOptions sampling;
  int64_t max_new_tokens = 256;
  std::vector<int32_t> stop_ids;  // a sequence ends when one of these is chosen
};

// Why a sequence ended.
enum class GenerationEnd {
  kStopToken,
  kMaxNewTokens,
  kModelLimit,  // max_position of the model
};

struct Generated {
  std::vector<int32_t> ids;  // new tokens, without the stop token
  GenerationEnd end = GenerationEnd::kMaxNewTokens;
};

// Called with the index of the sequence and each new token as soon as it is chosen; not for stop
// tokens.
using OnToken = std::function<void(size_t, int32_t)>;

// Continues every prompt; result i belongs to prompts[i]. No task label is involved: the routers
// see the tokens alone. The tokens of one sequence do not depend on the others in the batch.
// REQUIRES: no prompt is empty or longer than the model's max_position.
std::vector<Generated> generate(const CausalLM& model,
                                const std::vector<std::vector<int32_t>>& prompts,
                                const GenerationOptions& options, const OnToken& on_token = {});

}  // namespace molora
