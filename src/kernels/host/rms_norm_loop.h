// Root-mean-square norm of rows with a frozen weight: the formulas of bodies/rms_norm_body.h.
//
//   N rows, D columns
#pragma once

#include "kernels/host/loop_code.h"

namespace molora {

template <typename Number>
struct NormLoop {
  const Number* x;       // [rows, columns]
  const Number* weight;  // [columns]
  Number* y;             // [rows, columns]
  Wide<Number>* scales;  // [rows]: 1 / sqrt(mean(x^2) + eps), for the backward pass
  int64_t num_columns;
  Wide<Number> eps;

  MOLORA_LOOP void operator()(int64_t begin, int64_t end) const {
    for (int64_t row = begin; row < end; ++row) {
      const Number* of_x = x + row * num_columns;
      Number* of_y = y + row * num_columns;
      const auto squares = sum_of<Wide<Number>>(num_columns, [of_x](int64_t i) {
        const Wide<Number> value = to_wide(of_x[i]);
        return value * value;
      });
      const Wide<Number> mean = squares / static_cast<Wide<Number>>(num_columns);
      const Wide<Number> scale = 1 / square_root(mean + eps);
      MOLORA_INDEPENDENT
      for (int64_t i = 0; i < num_columns; ++i) {
        const auto normed = round_to<Number>(to_wide(of_x[i]) * scale);
        of_y[i] = round_to<Number>(to_wide(weight[i]) * to_wide(normed));
      }
      scales[row] = scale;
    }
  }
};

template <typename Number>
struct NormBackwardLoop {
  const Number* x;
  const Number* weight;
  const Wide<Number>* scales;
  const Number* d_y;  // [rows, columns]
  Number* d_x;        // [rows, columns]
  int64_t num_columns;

  MOLORA_LOOP void operator()(int64_t begin, int64_t end) const {
    for (int64_t row = begin; row < end; ++row) {
      const Number* of_x = x + row * num_columns;
      const Number* of_d_y = d_y + row * num_columns;
      const Number* of_weight = weight;
      Number* of_d_x = d_x + row * num_columns;
      const auto products = sum_of<Wide<Number>>(num_columns, [=](int64_t i) {
        return gradient(of_d_y[i], of_weight[i]) * to_wide(of_x[i]);
      });
      const Wide<Number> scale = scales[row];
      const Wide<Number> pull = products / static_cast<Wide<Number>>(num_columns) * scale * scale;
      MOLORA_INDEPENDENT
      for (int64_t i = 0; i < num_columns; ++i) {
        of_d_x[i] =
            round_to<Number>(scale * (gradient(of_d_y[i], of_weight[i]) - to_wide(of_x[i]) * pull));
      }
    }
  }

 private:
  MOLORA_LOOP static Wide<Number> gradient(Number d_y, Number weight) {
    return to_wide(round_to<Number>(to_wide(d_y) * to_wide(weight)));
  }
};

}  // namespace molora

// Every instance that the program uses.
#define MOLORA_RMS_NORM_LOOPS(use)                                                                \
  use(NormLoop<float>) use(NormLoop<BFloat16>) use(NormLoop<double>) use(NormBackwardLoop<float>) \
      use(NormBackwardLoop<BFloat16>) use(NormBackwardLoop<double>)
