// Cross entropy over rows of logits: what the loss needs of them, and their gradient in their
// place.
//
//   n tokens, v vocabulary of this rank
#pragma once

#include "kernels/host/exponential.h"
#include "kernels/host/loop_code.h"

namespace molora {

template <typename Number>
struct LogitSumsLoop {
  const Number* logits;   // [tokens, vocabulary]
  Wide<Number>* largest;  // [tokens]
  Wide<Number>* sums;     // [tokens]: of exp(logit - largest)
  int64_t num_columns;

  MOLORA_LOOP void operator()(int64_t begin, int64_t end) const {
    for (int64_t row = begin; row < end; ++row) {
      const Number* logit = logits + row * num_columns;
      const auto top =
          largest_of<Wide<Number>>(num_columns, [=](int64_t i) { return to_wide(logit[i]); });
      largest[row] = top;
      sums[row] = sum_of_pieces(logit, top);
    }
  }

 private:
  // In fp64 over pieces of a row, whose own sums are short enough for fp32.
  MOLORA_LOOP Wide<Number> sum_of_pieces(const Number* logit, Wide<Number> top) const {
    constexpr int64_t kPiece = 2048;
    double sum = 0;
    for (int64_t first = 0; first < num_columns; first += kPiece) {
      const Number* piece = logit + first;
      const int64_t length = num_columns - first < kPiece ? num_columns - first : kPiece;
      sum += static_cast<double>(sum_of<Wide<Number>>(
          length, [=](int64_t i) { return exp_of_loop(to_wide(piece[i]) - top); }));
    }
    return static_cast<Wide<Number>>(sum);
  }
};

// logits become exp(logit - log_sum) - (1 at the target).
template <typename Number>
struct LogitGradientLoop {
  Number* logits;                // [tokens, vocabulary]; the gradient afterwards
  const Wide<Number>* log_sums;  // [tokens]
  const int64_t* targets;        // [tokens]: a column, or -1
  int64_t num_columns;

  MOLORA_LOOP void operator()(int64_t begin, int64_t end) const {
    for (int64_t row = begin; row < end; ++row) {
      Number* logit = logits + row * num_columns;
      const Wide<Number> log_sum = log_sums[row];
      const int64_t target = targets[row];
      const Wide<Number> at_target =
          target < 0 ? Wide<Number>{0} : exp_of_loop(to_wide(logit[target]) - log_sum) - 1;
      MOLORA_INDEPENDENT
      for (int64_t i = 0; i < num_columns; ++i) {
        logit[i] = round_to<Number>(exp_of_loop(to_wide(logit[i]) - log_sum));
      }
      if (target >= 0) logit[target] = round_to<Number>(at_target);
    }
  }
};

}  // namespace molora

// Every instance that the program uses.
#define MOLORA_CROSS_ENTROPY_LOOPS(use)                                             \
  use(LogitSumsLoop<float>) use(LogitSumsLoop<BFloat16>) use(LogitSumsLoop<double>) \
      use(LogitGradientLoop<float>) use(LogitGradientLoop<BFloat16>)                \
          use(LogitGradientLoop<double>)
