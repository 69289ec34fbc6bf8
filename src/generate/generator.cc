#include "generate/generator.h"

namespace molora {

std::vector<Generated> generate(const CausalLM& model,
                                const std::vector<std::vector<int32_t>>& prompts,
                                const GenerationOptions& options, const OnToken& on_token) {
  std::vector<Generated> results(prompts.size());
  if (options.max_new_tokens <= 0) return results;
  SequenceBatch batch(model);
  for (size_t i = 0; i < prompts.size(); ++i) {
    batch.add({i, prompts[i], options, static_cast<int64_t>(i)});
  }
  while (!batch.empty()) {
    for (const NewToken& next : batch.step()) {
      const auto sequence = static_cast<size_t>(next.key);
      if (next.end) results[sequence].end = *next.end;
      if (!next.token) continue;
      results[sequence].ids.push_back(*next.token);
      if (on_token) on_token(sequence, *next.token);
    }
  }
  return results;
}

}  // namespace molora
