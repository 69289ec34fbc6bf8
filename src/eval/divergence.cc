#include "eval/divergence.h"

#include <algorithm>
#include <functional>
#include <vector>

#include <ATen/core/grad_mode.h>

#include "base/check.h"
#include "device/compute_device.h"
#include "train/micro_batch.h"

namespace molora {

namespace {

// Rows of logits that are in memory at a time, of each model.
constexpr int64_t kHeadRows = 256;

// Calls `work` with the items of the set, some of them at a time.
void for_each_pass(const EvalSet& set, int64_t tokens_per_pass,
                   const std::function<void(const MicroBatch&)>& work) {
  for (size_t begin = 0; begin < set.items.size();) {
    std::vector<TrainRow> rows;
    int64_t tokens = 0;
    for (; begin < set.items.size() && tokens < tokens_per_pass; ++begin) {
      const EncodedSample& sample = set.items[begin].sample;
      rows.push_back({TrainSequence{sample.ids, sample.supervised, 0}});
      tokens += std::ssize(sample.ids);
    }
    work(make_micro_batch(rows));
  }
}

// The states that predict the supervised tokens: [supervised, hidden].
Tensor predicting_states(const CausalLM& model, const MicroBatch& batch) {
  const TokenBatch tokens = on_device(batch.tokens, model.device());
  const ForwardContext context{.batch = tokens};
  return model.head_states(model.hidden_states(context), batch.predictors_N, context);
}

Tensor log_probabilities(const CausalLM& model, const Tensor& states_ND, int64_t begin,
                         int64_t end) {
  return at::log_softmax(to_host(model.logits(states_ND.slice(0, begin, end))).to(at::kDouble), 1);
}

}  // namespace

Divergence measure_divergence(const CausalLM& expected, const CausalLM& found, const EvalSet& set,
                              int64_t tokens_per_pass) {
  const at::NoGradGuard no_grad;
  MOLORA_CHECK_EQ(expected.architecture().vocab_size, found.architecture().vocab_size);
  Divergence sum;
  for_each_pass(set, tokens_per_pass, [&](const MicroBatch& batch) {
    const Tensor expected_ND = predicting_states(expected, batch);
    const Tensor found_ND = predicting_states(found, batch);
    const int64_t count = expected_ND.size(0);
    for (int64_t begin = 0; begin < count; begin += kHeadRows) {
      const int64_t end = std::min(count, begin + kHeadRows);
      const Tensor p_NV = log_probabilities(expected, expected_ND, begin, end);
      const Tensor q_NV = log_probabilities(found, found_ND, begin, end);
      const Tensor kl_N = (p_NV.exp() * (p_NV - q_NV)).sum(1);
      sum.tokens += end - begin;
      sum.kl_nats += kl_N.sum().item<double>();
      sum.worst_nats = std::max(sum.worst_nats, kl_N.max().item<double>());
      sum.same_top += p_NV.argmax(1).eq(q_NV.argmax(1)).sum().item<double>();
    }
  });
  if (sum.tokens == 0) return sum;
  sum.kl_nats /= static_cast<double>(sum.tokens);
  sum.same_top /= static_cast<double>(sum.tokens);
  return sum;
}

Tensor mean_router_weights(const CausalLM& model, const AdapterSet& adapters, const EvalSet& set,
                           int64_t tokens_per_pass) {
  const at::NoGradGuard no_grad;
  RouterStatistics statistics = empty_router_statistics(adapters, model.device());
  statistics.weight_sum_RE = at::zeros_like(statistics.prob_sum_RE);
  for_each_pass(set, tokens_per_pass, [&](const MicroBatch& batch) {
    const TokenBatch tokens = on_device(batch.tokens, model.device());
    model.hidden_states({.batch = tokens, .routing = {.statistics = &statistics}});
  });
  return to_host(statistics.weight_sum_RE) /
         static_cast<double>(std::max<int64_t>(statistics.num_tokens, 1));
}

}  // namespace molora
