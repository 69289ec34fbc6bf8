// The router's choice and its weights, and the gradient of the weights (model/router.h has the
// formulas).
//
//   T tokens, E experts, K experts per token
#pragma once

#include "kernels/bodies/device_code.h"
#include "kernels/bodies/meet.h"
#include "kernels/bodies/number.h"
#include "kernels/router_gate.h"

namespace molora {

// One logit of a token; `expert` is kNoExpert where there is none.
constexpr int kNoExpert = INT32_MAX;
template <typename Number>
struct RankedLogit {
  Number value;
  int expert;
};

// The order of choice: the largest first, ties to the lower index. What is not a number counts as
// larger than every number, as LibTorch's sort has it, so this is an order whatever the logits are.
template <typename Number>
MOLORA_DEVICE bool comes_before(const RankedLogit<Number>& a, const RankedLogit<Number>& b) {
  if (a.expert == kNoExpert || b.expert == kNoExpert)
    return b.expert == kNoExpert && a.expert != b.expert;
  const bool a_is_nan = a.value != a.value;
  const bool b_is_nan = b.value != b.value;
  if (a_is_nan != b_is_nan) return a_is_nan;
  if (a_is_nan || a.value == b.value) return a.expert < b.expert;
  return a.value > b.value;
}

// chosen_TK: the K largest logits of each token. A group of lanes has a token: K times it looks for
// the first logit that comes after the last one chosen, so that nothing has to be marked as taken.
template <typename Number>
struct ChooseExperts {
  static constexpr int kThreads = 128;
  static constexpr bool kMeetsThreads = true;
  using Shared = NothingShared;

  const Number* logits;  // [tokens, experts]
  int64_t* chosen;       // [tokens, k]
  int64_t num_tokens;
  int num_experts;
  int experts_per_token;       // 1 ... num_experts
  RowGroups<kThreads> groups;  // of at most a warp

  int64_t num_blocks() const { return groups.num_blocks(num_tokens); }

  template <typename Thread>
  MOLORA_DEVICE void operator()(const Thread& thread, Shared&) const {
    const int64_t row = groups.row(thread);
    // Lanes without a token do the last one's work again, to meet the others.
    const int64_t token = row < num_tokens ? row : num_tokens - 1;
    const Number* logit = logits + token * num_experts;
    RankedLogit<Number> last = {0, kNoExpert};
    for (int k = 0; k < experts_per_token; ++k) {
      RankedLogit<Number> next = {0, kNoExpert};
      for (int e = groups.column(thread); e < num_experts; e += groups.size()) {
        const RankedLogit<Number> candidate = {logit[e], e};
        const bool is_left = k == 0 || comes_before(last, candidate);
        if (is_left && comes_before(candidate, next)) next = candidate;
      }
      for (int mask = groups.size() / 2; mask > 0; mask /= 2) {
        const RankedLogit<Number> other = {thread.shuffle_xor(next.value, mask),
                                           thread.shuffle_xor(next.expert, mask)};
        if (comes_before(other, next)) next = other;
      }
      last = next;
      if (row < num_tokens && groups.column(thread) == 0) {
        chosen[token * experts_per_token + k] = last.expert;
      }
    }
  }
};

// The largest of some logits and one over the sum of exp(logit - largest) over them.
template <typename Number>
struct SoftmaxSums {
  Number largest;
  Number inverse_sum;
  MOLORA_DEVICE Number share(Number logit) const { return exp_of(logit - largest) * inverse_sum; }
};

// Over `count` logits, of which logit_at(i) is one; a group of lanes takes part.
template <typename Number, typename Thread, typename LogitAt>
MOLORA_DEVICE SoftmaxSums<Number> softmax_sums(const Thread& thread, int lane, int lanes, int count,
                                               const LogitAt& logit_at) {
  Number largest = -INFINITY;
  for (int i = lane; i < count; i += lanes) {
    const Number logit = logit_at(i);
    largest = logit > largest ? logit : largest;
  }
  largest = largest_over_lanes(thread, largest, lanes);
  Number sum = 0;
  for (int i = lane; i < count; i += lanes) sum += exp_of(logit_at(i) - largest);
  return {largest, 1 / sum_over_lanes(thread, sum, lanes)};
}

// weights_TE for a given choice: 0 where not chosen.
template <typename Number>
struct GateWeights {
  static constexpr int kThreads = 128;
  static constexpr bool kMeetsThreads = true;
  static constexpr int kLeastBlocks = 1;
  using Shared = NothingShared;

  const Number* logits;   // [tokens, experts]
  const int64_t* chosen;  // [tokens, k]
  Number* weights;        // [tokens, experts]
  int64_t num_tokens;
  int num_experts;
  int experts_per_token;
  RouterGate gate;
  RowGroups<kThreads> groups;  // of at most a warp

  int64_t num_blocks() const { return groups.num_blocks(num_tokens); }

  template <typename Thread>
  MOLORA_DEVICE void operator()(const Thread& thread, Shared&) const {
    const int64_t row = groups.row(thread);
    const int64_t token = row < num_tokens ? row : num_tokens - 1;
    const Number* logit = logits + token * num_experts;
    const int64_t* choice = chosen + token * experts_per_token;
    const int lane = groups.column(thread);
    for (int k = lane; k < experts_per_token; k += groups.size()) {
      if (choice[k] < 0 || choice[k] >= num_experts) thread.fail();
    }
    const bool over_chosen = gate == RouterGate::kTopkSoftmax;
    const auto sums = softmax_sums<Number>(
        thread, lane, groups.size(), over_chosen ? experts_per_token : num_experts,
        [&](int i) { return logit[over_chosen ? choice[i] : i]; });
    if (row >= num_tokens) return;
    for (int e = lane; e < num_experts; e += groups.size()) {
      bool is_kept = gate == RouterGate::kDenseSoftmax;
      for (int k = 0; k < experts_per_token && !is_kept; ++k) is_kept = choice[k] == e;
      weights[token * num_experts + e] = is_kept ? sums.share(logit[e]) : Number{0};
    }
  }
};

// d_logits from d_weights. With p the softmax that the weights come from and g the gradient of the
// weights that are not 0: d_z_e = p_e (g_e - sum_j w_j g_j).
template <typename Number>
struct GateWeightsBackward {
  static constexpr int kThreads = 128;
  static constexpr bool kMeetsThreads = true;
  static constexpr int kLeastBlocks = 1;
  using Shared = NothingShared;

  const Number* logits;     // [tokens, experts]; read with softmax_topk alone
  const Number* weights;    // [tokens, experts]
  const Number* d_weights;  // [tokens, experts]
  Number* d_logits;         // [tokens, experts]
  int64_t num_tokens;
  int num_experts;
  RouterGate gate;
  RowGroups<kThreads> groups;  // of at most a warp

  int64_t num_blocks() const { return groups.num_blocks(num_tokens); }

  template <typename Thread>
  MOLORA_DEVICE void operator()(const Thread& thread, Shared&) const {
    const int64_t row = groups.row(thread);
    const int64_t begin = (row < num_tokens ? row : num_tokens - 1) * num_experts;
    const int lane = groups.column(thread);
    Number mean = 0;
    for (int e = lane; e < num_experts; e += groups.size())
      mean += gradient_of(begin + e) * weights[begin + e];
    mean = sum_over_lanes(thread, mean, groups.size());
    // The other gates' weights are themselves the softmax that they come from.
    SoftmaxSums<Number> sums = {0, 1};
    if (gate == RouterGate::kSoftmaxTopk) {
      sums = softmax_sums<Number>(thread, lane, groups.size(), num_experts,
                                  [&](int e) { return logits[begin + e]; });
    }
    if (row >= num_tokens) return;
    for (int e = lane; e < num_experts; e += groups.size()) {
      const Number p =
          gate == RouterGate::kSoftmaxTopk ? sums.share(logits[begin + e]) : weights[begin + e];
      d_logits[begin + e] = p == 0 ? Number{0} : p * (gradient_of(begin + e) - mean);
    }
  }

 private:
  // What reaches a weight that is not there goes nowhere.
  MOLORA_DEVICE Number gradient_of(int64_t at) const {
    return weights[at] == 0 ? Number{0} : d_weights[at];
  }
};

}  // namespace molora

// Every instance that the program uses.
#define MOLORA_ROUTER_BODIES(use)                                              \
  use(ChooseExperts<float>) use(ChooseExperts<double>) use(GateWeights<float>) \
      use(GateWeights<double>) use(GateWeightsBackward<float>) use(GateWeightsBackward<double>)
