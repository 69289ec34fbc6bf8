// Sums over the pairs of a token and an expert at their tokens, and their gradients
// (kernels/pair_rows.h). In at least fp32, rounded once.
#pragma once

#include "kernels/host/loop_code.h"

namespace molora {

// A row is a token: out = sum over its pairs of w times the pair's row.
template <typename Number>
struct PairSumLoop {
  const Number* rows;           // [pairs, columns]
  const Wide<Number>* weights;  // [pairs], or null: 1
  const int64_t* begins;        // [tokens + 1]: where each token's pairs begin in `pairs`
  const int64_t* pairs;         // [pairs]
  Number* out;                  // [tokens, columns]
  int64_t num_columns;

  MOLORA_LOOP void operator()(int64_t begin, int64_t end) const {
    constexpr int64_t kBlock = 128;  // columns whose sums stay in the first cache
    for (int64_t token = begin; token < end; ++token) {
      for (int64_t first = 0; first < num_columns; first += kBlock) {
        const int64_t width = num_columns - first < kBlock ? num_columns - first : kBlock;
        Wide<Number> sums[kBlock] = {};
        for (int64_t i = begins[token]; i < begins[token + 1]; ++i) {
          const Wide<Number> weight = weights == nullptr ? Wide<Number>{1} : weights[pairs[i]];
          const Number* row = rows + pairs[i] * num_columns + first;
          for (int64_t c = 0; c < width; ++c) sums[c] += weight * to_wide(row[c]);
        }
        Number* of_out = out + token * num_columns + first;
        for (int64_t c = 0; c < width; ++c) of_out[c] = round_to<Number>(sums[c]);
      }
    }
  }
};

// A row is a pair: d_row = w times its token's d_out; d_w = the row times d_out.
template <typename Number>
struct PairSumBackwardLoop {
  const Number* rows;           // [pairs, columns]
  const Wide<Number>* weights;  // [pairs]
  const int64_t* tokens;        // [pairs]
  const Number* d_out;          // [tokens, columns]
  Number* d_rows;               // [pairs, columns]
  Wide<Number>* d_weights;      // [pairs]
  int64_t num_columns;

  MOLORA_LOOP void operator()(int64_t begin, int64_t end) const {
    for (int64_t pair = begin; pair < end; ++pair) {
      const Wide<Number> weight = weights[pair];
      const Number* row = rows + pair * num_columns;
      const Number* of_d_out = d_out + tokens[pair] * num_columns;
      Number* d_row = d_rows + pair * num_columns;
      d_weights[pair] = sum_of<Wide<Number>>(
          num_columns, [=](int64_t i) { return to_wide(row[i]) * to_wide(of_d_out[i]); });
      MOLORA_INDEPENDENT
      for (int64_t i = 0; i < num_columns; ++i) {
        d_row[i] = round_to<Number>(weight * to_wide(of_d_out[i]));
      }
    }
  }
};

}  // namespace molora

// Every instance that the program uses.
#define MOLORA_PAIR_SUM_LOOPS(use)                                            \
  use(PairSumLoop<float>) use(PairSumLoop<BFloat16>) use(PairSumLoop<double>) \
      use(PairSumBackwardLoop<float>) use(PairSumBackwardLoop<BFloat16>)      \
          use(PairSumBackwardLoop<double>)
