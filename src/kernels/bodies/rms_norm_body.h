// Root-mean-square norm of rows with a frozen weight (Zhang & Sennrich 2019, arXiv 1910.07467).
//
//   s = 1 / sqrt(mean(x^2) + eps), in at least fp32;   y = weight * (x * s), rounded to x's type
//   before the weight and after it
//
//   N rows, D columns
#pragma once

#include "kernels/bodies/device_code.h"
#include "kernels/bodies/meet.h"
#include "kernels/bodies/number.h"

namespace molora {

// A row is a warp's, or the whole block's when it is long.
template <typename Number, int kLanes>
struct RowOfNorm {
  static constexpr int kThreads = 256;
  static_assert(kLanes == kWarpLanes || kLanes == kThreads);
  using Shared = WarpSums<Wide<Number>, kThreads>;

  template <typename Thread>
  MOLORA_DEVICE static int64_t row(const Thread& thread) {
    return thread.block() * (kThreads / kLanes) + thread.index() / kLanes;
  }
  template <typename Thread>
  MOLORA_DEVICE static Wide<Number> sum(const Thread& thread, Wide<Number> value, Shared& shared) {
    if constexpr (kLanes == kWarpLanes) {
      return sum_over_lanes(thread, value, kWarpLanes);
    } else {
      return sum_over_block<kThreads>(thread, value, shared);
    }
  }
  static int64_t num_blocks(int64_t rows) { return divide_up(rows, kThreads / kLanes); }
};

template <typename Number, int kLanes>
struct RmsNorm {
  using Row = RowOfNorm<Number, kLanes>;
  static constexpr int kThreads = Row::kThreads;
  static constexpr bool kMeetsThreads = true;
  using Shared = typename Row::Shared;

  const Number* x;       // [rows, columns]
  const Number* weight;  // [columns]
  Number* y;             // [rows, columns]
  Wide<Number>* scales;  // [rows]: s, for the backward pass
  int64_t num_rows;
  int64_t num_columns;
  Wide<Number> eps;

  int64_t num_blocks() const { return num_columns == 0 ? 0 : Row::num_blocks(num_rows); }

  template <typename Thread>
  MOLORA_DEVICE void operator()(const Thread& thread, Shared& shared) const {
    const int64_t row = Row::row(thread);
    const int lane = thread.index() % kLanes;
    const int64_t end = row < num_rows ? num_columns : 0;
    const int64_t begin = row * num_columns;
    Wide<Number> squares = 0;
    for (int64_t i = lane; i < end; i += kLanes) {
      const Wide<Number> value = to_wide(x[begin + i]);
      squares += value * value;
    }
    squares = Row::sum(thread, squares, shared);
    const Wide<Number> scale = inverse_sqrt(squares / static_cast<Wide<Number>>(num_columns) + eps);
    for (int64_t i = lane; i < end; i += kLanes) {
      const Number normed = round_to<Number>(to_wide(x[begin + i]) * scale);
      y[begin + i] = round_to<Number>(to_wide(weight[i]) * to_wide(normed));
    }
    if (lane == 0 && row < num_rows) scales[row] = scale;
  }
};

// With g = dy * weight (rounded to x's type): dx = s * (g - x * s^2 * mean(g * x)).
template <typename Number, int kLanes>
struct RmsNormBackward {
  using Row = RowOfNorm<Number, kLanes>;
  static constexpr int kThreads = Row::kThreads;
  static constexpr bool kMeetsThreads = true;
  using Shared = typename Row::Shared;

  const Number* x;
  const Number* weight;
  const Wide<Number>* scales;
  const Number* d_y;  // [rows, columns]
  Number* d_x;        // [rows, columns]
  int64_t num_rows;
  int64_t num_columns;

  int64_t num_blocks() const { return num_columns == 0 ? 0 : Row::num_blocks(num_rows); }

  template <typename Thread>
  MOLORA_DEVICE void operator()(const Thread& thread, Shared& shared) const {
    const int64_t row = Row::row(thread);
    const int lane = thread.index() % kLanes;
    const int64_t end = row < num_rows ? num_columns : 0;
    const int64_t begin = row * num_columns;
    Wide<Number> products = 0;
    for (int64_t i = lane; i < end; i += kLanes) {
      products += gradient(begin, i) * to_wide(x[begin + i]);
    }
    products = Row::sum(thread, products, shared);
    if (row >= num_rows) return;
    const Wide<Number> scale = scales[row];
    const Wide<Number> pull = products / static_cast<Wide<Number>>(num_columns) * scale * scale;
    for (int64_t i = lane; i < end; i += kLanes) {
      d_x[begin + i] =
          round_to<Number>(scale * (gradient(begin, i) - to_wide(x[begin + i]) * pull));
    }
  }

 private:
  MOLORA_DEVICE Wide<Number> gradient(int64_t begin, int64_t i) const {
    return to_wide(round_to<Number>(to_wide(d_y[begin + i]) * to_wide(weight[i])));
  }
};

}  // namespace molora

// Every instance that the program uses.
#define MOLORA_RMS_NORM_BODIES(use)                                                  \
  use(RmsNorm<float, 32>) use(RmsNorm<float, 256>) use(RmsNorm<BFloat16, 32>)        \
      use(RmsNorm<BFloat16, 256>) use(RmsNorm<double, 32>) use(RmsNorm<double, 256>) \
          use(RmsNormBackward<float, 32>) use(RmsNormBackward<float, 256>)           \
              use(RmsNormBackward<BFloat16, 32>) use(RmsNormBackward<BFloat16, 256>) \
                  use(RmsNormBackward<double, 32>) use(RmsNormBackward<double, 256>)
