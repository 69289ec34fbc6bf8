// The softmax of causal attention over a block of scores, and its gradient (Vaswani et al. 2017,
// arXiv 1706.03762). A row is one query of one head; queries and keys are counted from the first
// key of the block.
#pragma once

#include "kernels/host/exponential.h"
#include "kernels/host/loop_code.h"

namespace molora {

// Which keys a row of a block sees.
struct AttentionBlock {
  int64_t num_keys;     // columns of the block
  int64_t first_query;  // of row 0
  int64_t copies;       // heads that share the keys: as many rows of each query
  int64_t window;       // keys that a query sees, itself included; 0: all up to itself

  MOLORA_LOOP int64_t query(int64_t row) const { return first_query + row / copies; }
  MOLORA_LOOP int64_t first_key(int64_t row) const {
    const int64_t first = query(row) - window + 1;
    return window > 0 && first > 0 ? first : 0;
  }
  MOLORA_LOOP int64_t keys_end(int64_t row) const { return query(row) + 1; }
};

// What the backward pass has to know of a row to find its weights again: exp(scale * score -
// largest) * share.
template <typename Wide>
struct SoftmaxRow {
  Wide largest;  // scale * the largest score
  Wide share;    // 1 / the sum of exp(scale * score - largest)
};

template <typename Number>
MOLORA_LOOP void fill_zeros(Number* values, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) values[i] = round_to<Number>(Wide<Number>(0));
}

// weights = softmax(scale * scores) over the visible keys, 0 elsewhere.
template <typename Number>
struct CausalSoftmaxLoop {
  Wide<Number>* scores;                    // [rows, keys], used up
  Number* weights;                         // [rows, keys]; may be scores
  SoftmaxRow<Wide<Number>>* softmax_rows;  // of query q and copy c: q * query_stride + c
  int64_t query_stride;
  AttentionBlock block;
  Wide<Number> scale;

  MOLORA_LOOP void operator()(int64_t begin, int64_t end) const {
    const Wide<Number> factor = scale;  // not read again after each write
    for (int64_t row = begin; row < end; ++row) {
      const int64_t first = block.first_key(row);
      const int64_t last = block.keys_end(row);
      Wide<Number>* score = scores + row * block.num_keys;
      Number* weight = weights + row * block.num_keys;
      const Wide<Number>* visible = score + first;
      const Wide<Number> largest =
          factor * largest_of<Wide<Number>>(last - first, [=](int64_t i) { return visible[i]; });
      MOLORA_INDEPENDENT
      for (int64_t i = first; i < last; ++i) score[i] = exp_of_loop(score[i] * factor - largest);
      const Wide<Number> share =
          1 / sum_of<Wide<Number>>(last - first, [=](int64_t i) { return visible[i]; });
      MOLORA_INDEPENDENT
      for (int64_t i = first; i < last; ++i) weight[i] = round_to<Number>(score[i] * share);
      fill_zeros(weight, 0, first);
      fill_zeros(weight, last, block.num_keys);
      softmax_rows[row / block.copies * query_stride + row % block.copies] = {largest, share};
    }
  }
};

// With d the gradient of the weights: d_scores = scale * weights * (d - sum of weights * d).
template <typename Number>
struct CausalSoftmaxBackwardLoop {
  Wide<Number>* scores;     // [rows, keys], used up
  Wide<Number>* d_weights;  // [rows, keys], used up
  Number* weights;          // [rows, keys]; may be scores
  Number* d_scores;         // [rows, keys]; may be d_weights
  const SoftmaxRow<Wide<Number>>* softmax_rows;
  int64_t query_stride;
  AttentionBlock block;
  Wide<Number> scale;

  MOLORA_LOOP void operator()(int64_t begin, int64_t end) const {
    const Wide<Number> factor = scale;  // not read again after each write
    for (int64_t row = begin; row < end; ++row) {
      const int64_t first = block.first_key(row);
      const int64_t last = block.keys_end(row);
      const SoftmaxRow<Wide<Number>> of =
          softmax_rows[row / block.copies * query_stride + row % block.copies];
      Wide<Number>* score = scores + row * block.num_keys;
      const Wide<Number>* d = d_weights + row * block.num_keys;
      Number* weight = weights + row * block.num_keys;
      Number* d_score = d_scores + row * block.num_keys;
      MOLORA_INDEPENDENT
      for (int64_t i = first; i < last; ++i) {
        score[i] = exp_of_loop(score[i] * factor - of.largest) * of.share;
      }
      const Wide<Number> mean = sum_of<Wide<Number>>(
          last - first, [=](int64_t i) { return score[first + i] * d[first + i]; });
      MOLORA_INDEPENDENT
      for (int64_t i = first; i < last; ++i) {
        const Wide<Number> exact = score[i];
        d_score[i] = round_to<Number>(factor * exact * (d[i] - mean));
        weight[i] = round_to<Number>(exact);
      }
      fill_zeros(weight, 0, first);
      fill_zeros(weight, last, block.num_keys);
      fill_zeros(d_score, 0, first);
      fill_zeros(d_score, last, block.num_keys);
    }
  }
};

}  // namespace molora

// Every instance that the program uses.
#define MOLORA_ATTENTION_LOOPS(use)                                                             \
  use(CausalSoftmaxLoop<float>) use(CausalSoftmaxLoop<BFloat16>) use(CausalSoftmaxLoop<double>) \
      use(CausalSoftmaxBackwardLoop<float>) use(CausalSoftmaxBackwardLoop<BFloat16>)            \
          use(CausalSoftmaxBackwardLoop<double>)
