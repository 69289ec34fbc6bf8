#include "generate/generator.h"

#include <algorithm>

#include <ATen/core/grad_mode.h>

#include "base/check.h"
#include "device/compute_device.h"
#include "tensor/tensor_bytes.h"

namespace molora {

namespace {

// The sequences that are still growing.
class Generation {
 public:
  Generation(const CausalLM& model, const std::vector<std::vector<int32_t>>& prompts,
             const GenerationOptions& options, const OnToken& on_token)
      : model_(model),
        options_(options),
        on_token_(on_token),
        cache_(model.architecture().num_layers, static_cast<int64_t>(prompts.size())),
        next_input_(prompts),
        results_(prompts.size()) {
    for (size_t i = 0; i < prompts.size(); ++i) {
      const auto length = static_cast<int64_t>(prompts[i].size());
      MOLORA_CHECK(length > 0 && length <= model.architecture().max_position,
                   "prompt {} has {} tokens", i, length);
      active_.push_back(i);
    }
  }

  std::vector<Generated> run() {
    if (options_.max_new_tokens <= 0) return std::move(results_);
    while (!active_.empty()) advance();
    return std::move(results_);
  }

 private:
  // One forward pass over what is new in each active sequence, one new token for each.
  void advance() {
    std::vector<int64_t> samples;
    std::vector<int64_t> positions;
    std::vector<int64_t> last_tokens;
    int64_t end = 0;
    for (size_t i = 0; i < active_.size(); ++i) {
      samples.push_back(static_cast<int64_t>(active_[i]));
      positions.push_back(cache_.length(static_cast<int64_t>(i)));
      end += static_cast<int64_t>(next_input_[i].size());
      last_tokens.push_back(end - 1);
    }
    const TokenBatch batch =
        on_device(make_token_batch(next_input_, samples, positions), model_.device());
    const Tensor hidden = model_.hidden_states({.batch = batch, .cache = &cache_});
    const Tensor last_N = to_device(at::tensor(last_tokens, at::kLong), model_.device());
    // The next token is chosen on the host: the device is waited for once a token.
    const Tensor logits_NV =
        to_host(model_.logits(hidden.index_select(0, last_N)).to(at::kFloat).contiguous());
    std::vector<int64_t> kept;
    std::vector<size_t> still_active;
    std::vector<std::vector<int32_t>> new_input;
    for (size_t i = 0; i < active_.size(); ++i) {
      const int64_t length = cache_.length(static_cast<int64_t>(i));
      const Tensor row = logits_NV[static_cast<int64_t>(i)];
      const int32_t token =
          choose_token(elements<float>(row), options_.sampling, samples[i], length);
      if (take(active_[i], token, length)) {
        kept.push_back(static_cast<int64_t>(i));
        still_active.push_back(active_[i]);
        new_input.push_back({token});
      }
    }
    cache_.keep(kept);
    active_ = std::move(still_active);
    next_input_ = std::move(new_input);
  }

  // Adds a token to a sequence whose cache holds `length` tokens; whether it goes on.
  bool take(size_t sequence, int32_t token, int64_t length) {
    Generated& result = results_[sequence];
    const auto& stops = options_.stop_ids;
    if (std::find(stops.begin(), stops.end(), token) != stops.end()) {
      result.end = GenerationEnd::kStopToken;
      return false;
    }
    result.ids.push_back(token);
    if (on_token_) on_token_(sequence, token);
    if (static_cast<int64_t>(result.ids.size()) >= options_.max_new_tokens) {
      result.end = GenerationEnd::kMaxNewTokens;
      return false;
    }
    if (length >= model_.architecture().max_position) {
      result.end = GenerationEnd::kModelLimit;
      return false;
    }
    return true;
  }

  const CausalLM& model_;
  const GenerationOptions& options_;
  const OnToken& on_token_;
  KvCache cache_;
  std::vector<size_t> active_;  // by place in the cache: which prompt
  std::vector<std::vector<int32_t>> next_input_;
  std::vector<Generated> results_;
};

}  // namespace

std::vector<Generated> generate(const CausalLM& model,
                                const std::vector<std::vector<int32_t>>& prompts,
                                const GenerationOptions& options, const OnToken& on_token) {
  const at::NoGradGuard no_grad;
  return Generation(model, prompts, options, on_token).run();
}

}  // namespace molora
