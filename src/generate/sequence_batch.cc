#include "generate/sequence_batch.h"

#include <algorithm>
#include <utility>

#include <ATen/core/grad_mode.h>

#include "base/check.h"
#include "device/compute_device.h"
#include "tensor/tensor_bytes.h"

namespace molora {

SequenceBatch::SequenceBatch(const CausalLM& model)
    : model_(model), cache_(model.architecture().num_layers, 0) {}

void SequenceBatch::add(NewSequence sequence) {
  const auto length = static_cast<int64_t>(sequence.prompt.size());
  MOLORA_CHECK(length > 0 && length <= model_.architecture().max_position,
               "prompt {} has {} tokens", sequence.key, length);
  MOLORA_CHECK(sequence.options.max_new_tokens > 0, "sequence {}", sequence.key);
  for (const Active& active : active_) {
    MOLORA_CHECK(active.sequence.key != sequence.key, "sequence {} is there", sequence.key);
  }
  std::vector<int32_t> next_input = std::exchange(sequence.prompt, {});
  active_.push_back({std::move(sequence), std::move(next_input)});
  cache_.add_sequence();
}

void SequenceBatch::remove(uint64_t key) {
  std::vector<int64_t> kept;
  for (size_t i = 0; i < active_.size(); ++i) {
    if (active_[i].sequence.key != key) kept.push_back(static_cast<int64_t>(i));
  }
  MOLORA_CHECK_EQ(kept.size() + 1, active_.size(), "sequence {}", key);
  cache_.keep(kept);
  std::erase_if(active_, [key](const Active& active) { return active.sequence.key == key; });
}

std::vector<NewToken> SequenceBatch::step() {
  if (active_.empty()) return {};
  const at::NoGradGuard no_grad;
  const at::Tensor logits_NV = next_logits();
  std::vector<NewToken> tokens;
  std::vector<int64_t> kept;
  std::vector<Active> still_active;
  for (size_t i = 0; i < active_.size(); ++i) {
    Active& active = active_[i];
    const int64_t length = cache_.length(static_cast<int64_t>(i));
    const at::Tensor row = logits_NV[static_cast<int64_t>(i)];
    const int32_t token = choose_token(elements<float>(row), active.sequence.options.sampling,
                                       active.sequence.draw, length);
    tokens.push_back(take(active, token, length));
    if (tokens.back().end) continue;
    active.next_input = {token};
    kept.push_back(static_cast<int64_t>(i));
    still_active.push_back(std::move(active));
  }
  cache_.keep(kept);
  active_ = std::move(still_active);
  return tokens;
}

// Of the token after each sequence: [sequences, vocabulary] fp32 on the host.
at::Tensor SequenceBatch::next_logits() {
  std::vector<std::vector<int32_t>> inputs;
  std::vector<int64_t> samples;
  std::vector<int64_t> positions;
  std::vector<int64_t> tasks;
  std::vector<int64_t> last_tokens;
  int64_t end = 0;
  for (size_t i = 0; i < active_.size(); ++i) {
    inputs.push_back(active_[i].next_input);
    samples.push_back(active_[i].sequence.draw);
    tasks.push_back(active_[i].sequence.options.task);
    positions.push_back(cache_.length(static_cast<int64_t>(i)));
    end += static_cast<int64_t>(inputs.back().size());
    last_tokens.push_back(end - 1);
  }
  const TokenBatch batch =
      on_device(make_token_batch(inputs, samples, positions, tasks), model_.device());
  const at::Tensor hidden = model_.hidden_states({.batch = batch, .cache = &cache_});
  const at::Tensor last_N = to_device(at::tensor(last_tokens, at::kLong), model_.device());
  // The next token is chosen on the host: the device is waited for once a token.
  return to_host(model_.logits(hidden.index_select(0, last_N)).to(at::kFloat).contiguous());
}

// What becomes of a sequence whose cache holds `length` tokens and for which `token` was chosen.
NewToken SequenceBatch::take(Active& active, int32_t token, int64_t length) const {
  const GenerationOptions& options = active.sequence.options;
  NewToken result{active.sequence.key, token, std::nullopt};
  if (std::find(options.stop_ids.begin(), options.stop_ids.end(), token) !=
      options.stop_ids.end()) {
    result.token.reset();
    result.end = GenerationEnd::kStopToken;
  } else if (++active.num_new >= options.max_new_tokens) {
    result.end = GenerationEnd::kMaxNewTokens;
  } else if (length >= model_.architecture().max_position) {
    result.end = GenerationEnd::kModelLimit;
  }
  return result;
}

}  // namespace molora
