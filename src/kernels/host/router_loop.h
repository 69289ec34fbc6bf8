// The router's choice, its weights, their gradient, and what it did: the formulas of
// bodies/router_body.h and bodies/router_statistics_body.h.
//
//   T tokens, E experts, K experts per token
#pragma once

#include "kernels/bodies/router_body.h"
#include "kernels/host/exponential.h"
#include "kernels/host/loop_code.h"
#include "kernels/router_gate.h"

namespace molora {

// chosen_TK: the K largest logits of each token, as comes_before() orders them, each put into its
// place among those found so far.
template <typename Number>
struct ChooseLoop {
  const Number* logits;  // [tokens, experts]
  int64_t* chosen;       // [tokens, k]
  int64_t num_experts;
  int64_t experts_per_token;

  MOLORA_LOOP void operator()(int64_t begin, int64_t end) const {
    for (int64_t token = begin; token < end; ++token) {
      const Number* logit = logits + token * num_experts;
      int64_t* choice = chosen + token * experts_per_token;
      int64_t found = 0;
      for (int64_t expert = 0; expert < num_experts; ++expert) {
        int64_t place = found;
        // Experts come in ascending order: one that was there before stays before its equals.
        while (place > 0 && is_larger(logit[expert], logit[choice[place - 1]])) --place;
        if (place == experts_per_token) continue;
        if (found < experts_per_token) ++found;
        for (int64_t k = found - 1; k > place; --k) choice[k] = choice[k - 1];
        choice[place] = expert;
      }
    }
  }

 private:
  // What is not a number counts as larger than every number.
  MOLORA_LOOP static bool is_larger(Number a, Number b) { return a > b || (a != a && b == b); }
};

// The largest of some logits and one over the sum of exp(logit - largest) over them.
template <typename Number>
struct LoopSoftmax {
  Number largest;
  Number inverse_sum;
  MOLORA_LOOP Number share(Number logit) const {
    return exp_of_loop(logit - largest) * inverse_sum;
  }
};
template <typename Number, typename LogitAt>
MOLORA_LOOP LoopSoftmax<Number> loop_softmax(int64_t count, const LogitAt& logit_at) {
  const auto largest = largest_of<Number>(count, logit_at);
  const auto sum =
      sum_of<Number>(count, [&](int64_t i) { return exp_of_loop(logit_at(i) - largest); });
  return {largest, 1 / sum};
}

// weights_TE for a given choice: 0 where not chosen. REQUIRES: the choice is of these experts.
template <typename Number>
struct GateWeightsLoop {
  const Number* logits;   // [tokens, experts]
  const int64_t* chosen;  // [tokens, k]
  Number* weights;        // [tokens, experts]
  int64_t num_experts;
  int64_t experts_per_token;
  RouterGate gate;

  MOLORA_LOOP void operator()(int64_t begin, int64_t end) const {
    for (int64_t token = begin; token < end; ++token) {
      const Number* logit = logits + token * num_experts;
      const int64_t* choice = chosen + token * experts_per_token;
      Number* weight = weights + token * num_experts;
      const auto softmax =
          gate == RouterGate::kTopkSoftmax
              ? loop_softmax<Number>(experts_per_token, [=](int64_t k) { return logit[choice[k]]; })
              : loop_softmax<Number>(num_experts, [=](int64_t e) { return logit[e]; });
      if (gate == RouterGate::kDenseSoftmax) {
        for (int64_t e = 0; e < num_experts; ++e) weight[e] = softmax.share(logit[e]);
        continue;
      }
      for (int64_t e = 0; e < num_experts; ++e) weight[e] = 0;
      for (int64_t k = 0; k < experts_per_token; ++k) {
        weight[choice[k]] = softmax.share(logit[choice[k]]);
      }
    }
  }
};

// With p the softmax that the weights come from and g the gradient of the weights that are not 0:
// d_z_e = p_e (g_e - sum_j w_j g_j).
template <typename Number>
struct GateWeightsBackwardLoop {
  const Number* logits;     // [tokens, experts]; read with softmax_topk alone
  const Number* weights;    // [tokens, experts]
  const Number* d_weights;  // [tokens, experts]
  Number* d_logits;         // [tokens, experts]
  int64_t num_experts;
  RouterGate gate;

  MOLORA_LOOP void operator()(int64_t begin, int64_t end) const {
    for (int64_t token = begin; token < end; ++token) {
      const Number* logit = logits + token * num_experts;
      const Number* weight = weights + token * num_experts;
      const Number* d_weight = d_weights + token * num_experts;
      Number* d_logit = d_logits + token * num_experts;
      const auto mean = sum_of<Number>(
          num_experts, [=](int64_t e) { return gradient_of(weight[e], d_weight[e]) * weight[e]; });
      // The other gates' weights are themselves the softmax that they come from.
      const bool is_part = gate == RouterGate::kSoftmaxTopk;
      const auto softmax =
          is_part ? loop_softmax<Number>(num_experts, [=](int64_t e) { return logit[e]; })
                  : LoopSoftmax<Number>{0, 1};
      for (int64_t e = 0; e < num_experts; ++e) {
        const Number p = is_part ? softmax.share(logit[e]) : weight[e];
        d_logit[e] = p == 0 ? Number{0} : p * (gradient_of(weight[e], d_weight[e]) - mean);
      }
    }
  }

 private:
  // What reaches a weight that is not there goes nowhere.
  MOLORA_LOOP static Number gradient_of(Number weight, Number d_weight) {
    return weight == 0 ? Number{0} : d_weight;
  }
};

// A row is a chunk of tokens, summed in their order, so that the order of all sums depends on the
// number of tokens alone.
constexpr int64_t kStatisticsChunkOfLoop = 128;
template <typename Number>
struct StatisticsLoop {
  const Number* logits;   // [tokens, experts]
  const int64_t* chosen;  // [tokens, k]
  double* sums;           // [chunks, experts]: the softmax
  double* scratch;        // [chunks, experts]
  double* largest;        // [tokens]
  double* exp_sums;       // [tokens]: of exp(logit - largest)
  int64_t* counts;        // [chunks, experts]
  int64_t num_tokens;
  int64_t num_experts;
  int64_t experts_per_token;

  MOLORA_LOOP void operator()(int64_t begin, int64_t end) const {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      double* sum = sums + chunk * num_experts;
      int64_t* count = counts + chunk * num_experts;
      for (int64_t e = 0; e < num_experts; ++e) {
        sum[e] = 0;
        count[e] = 0;
      }
      const int64_t first = chunk * kStatisticsChunkOfLoop;
      const int64_t last =
          first + kStatisticsChunkOfLoop < num_tokens ? first + kStatisticsChunkOfLoop : num_tokens;
      for (int64_t token = first; token < last; ++token) {
        add_shares(token, scratch + chunk * num_experts, sum);
        const int64_t* choice = chosen + token * experts_per_token;
        for (int64_t k = 0; k < experts_per_token; ++k) ++count[choice[k]];
      }
    }
  }

 private:
  MOLORA_LOOP void add_shares(int64_t token, double* powers, double* sum) const {
    const Number* logit = logits + token * num_experts;
    const auto top =
        largest_of<double>(num_experts, [=](int64_t e) { return static_cast<double>(logit[e]); });
    MOLORA_INDEPENDENT
    for (int64_t e = 0; e < num_experts; ++e) {
      powers[e] = exp_of_loop(static_cast<double>(logit[e]) - top);
    }
    const auto of_all = sum_of<double>(num_experts, [=](int64_t e) { return powers[e]; });
    const double inverse = 1 / of_all;
    MOLORA_INDEPENDENT
    for (int64_t e = 0; e < num_experts; ++e) sum[e] += powers[e] * inverse;
    largest[token] = top;
    exp_sums[token] = of_all;
  }
};

}  // namespace molora

// Every instance that the program uses.
#define MOLORA_ROUTER_LOOPS(use)                                             \
  use(ChooseLoop<float>) use(ChooseLoop<double>) use(GateWeightsLoop<float>) \
      use(GateWeightsLoop<double>) use(GateWeightsBackwardLoop<float>)       \
          use(GateWeightsBackwardLoop<double>) use(StatisticsLoop<float>)    \
              use(StatisticsLoop<double>)
