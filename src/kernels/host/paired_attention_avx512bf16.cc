// Compiled with AVX-512 and AVX512-BF16. The softmax between the products is that of all
// instruction sets (attention_loop.h).
#include <immintrin.h>

#include <cstddef>

#include "kernels/host/instruction_set.h"
#include "kernels/host/paired_attention_kernels.h"

namespace molora {

// Made by loops_of_set.cc.
template <InstructionSet kSet, typename Loop>
void run_rows(const Loop& loop, int64_t begin, int64_t end);

namespace {

// Queries of a block: enough for the products, few enough for scores in the cache and little work
// above the diagonal.
constexpr int64_t kMostQueries = 64;
constexpr int64_t kFewestQueries = 16;
constexpr int64_t kScoresOfBlock = int64_t{256} * 1024;

// A tile of a product is held in registers: 6 x 4 of the 32.
constexpr int64_t kTileRows = 6;
constexpr int64_t kTileVectors = 4;
constexpr int64_t kTileColumns = kTileVectors * kPairedLanes;

int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// The left matrix of a product, in words: pair p of row m at m * row_step + p * pair_step.
struct LeftWords {
  const uint32_t* words;
  int64_t row_step;
  int64_t pair_step;
};

LeftWords rows_of(const HeadRows<const BFloat16>& rows, int64_t token) {
  return {reinterpret_cast<const uint32_t*>(rows.row(token)), rows.step / 2, 1};
}
LeftWords rows_of(const BFloat16* matrix, int64_t columns) {
  return {reinterpret_cast<const uint32_t*>(matrix), columns / 2, 1};
}
// The columns of a matrix whose rows are packed in pairs, as rows.
LeftWords columns_of(const uint32_t* pairs_of_rows, int64_t columns) {
  return {pairs_of_rows, 1, columns};
}

// The right matrix, in words: a row for each pair.
struct RightWords {
  const uint32_t* words;
  int64_t pair_step;
};

struct Sums {
  float* numbers;
  int64_t row_step;
  bool is_added_to;
};

template <int64_t kRows, int64_t kVectors>
void product_tile(const LeftWords& left, const RightWords& right, int64_t pairs, const Sums& to) {
  __m512 sums[std::size_t{kRows}][std::size_t{kVectors}];
#pragma GCC unroll 8
  for (int64_t m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
    for (int64_t n = 0; n < kVectors; ++n) {
      sums[m][n] = to.is_added_to ? _mm512_loadu_ps(to.numbers + m * to.row_step + n * kPairedLanes)
                                  : _mm512_setzero_ps();
    }
  }
  const uint32_t* left_words = left.words;
  const uint32_t* right_words = right.words;
  for (int64_t p = 0; p < pairs; ++p) {
    __m512bh row[std::size_t{kVectors}];
#pragma GCC unroll 8
    for (int64_t n = 0; n < kVectors; ++n) {
      row[n] = (__m512bh)_mm512_loadu_si512(right_words + n * kPairedLanes);
    }
#pragma GCC unroll 8
    for (int64_t m = 0; m < kRows; ++m) {
      int32_t word;
      __builtin_memcpy(&word, left_words + m * left.row_step, sizeof(word));
      const auto pair = (__m512bh)_mm512_set1_epi32(word);
#pragma GCC unroll 8
      for (int64_t n = 0; n < kVectors; ++n) {
        sums[m][n] = _mm512_dpbf16_ps(sums[m][n], pair, row[n]);
      }
    }
    left_words += left.pair_step;
    right_words += right.pair_step;
  }
#pragma GCC unroll 8
  for (int64_t m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
    for (int64_t n = 0; n < kVectors; ++n) {
      _mm512_storeu_ps(to.numbers + m * to.row_step + n * kPairedLanes, sums[m][n]);
    }
  }
}

template <int64_t kVectors>
void product_columns(LeftWords left, const RightWords& right, int64_t rows, int64_t pairs,
                     Sums to) {
  for (; rows >= kTileRows; rows -= kTileRows) {
    product_tile<kTileRows, kVectors>(left, right, pairs, to);
    left.words += kTileRows * left.row_step;
    to.numbers += kTileRows * to.row_step;
  }
  switch (rows) {
    case 1:
      return product_tile<1, kVectors>(left, right, pairs, to);
    case 2:
      return product_tile<2, kVectors>(left, right, pairs, to);
    case 3:
      return product_tile<3, kVectors>(left, right, pairs, to);
    case 4:
      return product_tile<4, kVectors>(left, right, pairs, to);
    case 5:
      return product_tile<5, kVectors>(left, right, pairs, to);
    default:
      return;
  }
}

// to = left * right, or to += left * right. REQUIRES: columns is a multiple of kPairedLanes.
void product(const LeftWords& left, RightWords right, int64_t rows, int64_t pairs, int64_t columns,
             Sums to) {
  for (; columns >= kTileColumns; columns -= kTileColumns) {
    product_columns<kTileVectors>(left, right, rows, pairs, to);
    right.words += kTileColumns;
    to.numbers += kTileColumns;
  }
  switch (columns / kPairedLanes) {
    case 1:
      return product_columns<1>(left, right, rows, pairs, to);
    case 2:
      return product_columns<2>(left, right, rows, pairs, to);
    case 3:
      return product_columns<3>(left, right, rows, pairs, to);
    default:
      return;
  }
}

using HalfWords = uint16_t __attribute__((vector_size(2 * kPairedLanes)));
using Words = uint32_t __attribute__((vector_size(4 * kPairedLanes)));

Words words_of(const BFloat16* sixteen) {
  HalfWords numbers;
  __builtin_memcpy(&numbers, sixteen, sizeof(numbers));
  return __builtin_convertvector(numbers, Words);
}

// Numbers of two rows side by side; without a second row, zeros.
void pair_rows(const BFloat16* low, const BFloat16* high, int64_t columns, uint32_t* words) {
  for (int64_t c = 0; c < columns; c += kPairedLanes) {
    Words pairs = words_of(low + c);
    if (high != nullptr) pairs |= words_of(high + c) << 16;
    __builtin_memcpy(words + c, &pairs, sizeof(pairs));
  }
}

// to[first], to[first + 1], ... = the rows of `from`, rounded.
void round_rows(const float* from, int64_t rows, int64_t columns, HeadRows<BFloat16> to,
                int64_t first) {
  for (int64_t row = 0; row < rows; ++row, from += columns) {
    BFloat16* numbers = to.row(first + row);
    for (int64_t c = 0; c < columns; c += kPairedLanes) {
      const __m256bh rounded = _mm512_cvtneps_pbh(_mm512_loadu_ps(from + c));
      __builtin_memcpy(numbers + c, &rounded, sizeof(rounded));
    }
  }
}

// Queries first ... last-1, and keys from first_key on: num_keys, whole vectors.
struct QueryBlock {
  int64_t first;
  int64_t last;
  int64_t first_key;
  int64_t num_keys;

  int64_t num_queries() const { return last - first; }
  int64_t query_pairs() const { return (num_queries() + 1) / 2; }
  AttentionBlock of_loop(int64_t window) const { return {num_keys, first - first_key, 1, window}; }
};

QueryBlock block_from(int64_t first, const PairedShape& shape) {
  const int64_t first_key =
      shape.window > 0 ? most(0, first - shape.window + 1) / kPairedLanes * kPairedLanes : 0;
  const int64_t by_size = kScoresOfBlock / (first - first_key + kMostQueries);
  const int64_t queries = least(kMostQueries, most(kFewestQueries, by_size));
  const int64_t last = least(shape.length, first + queries);
  return {first, last, first_key, whole_lanes(last - first_key)};
}

int64_t most_keys(const PairedShape& shape) {
  const int64_t by_window =
      shape.window > 0 ? shape.window + kMostQueries + 2 * kPairedLanes : shape.padded();
  return least(shape.padded(), whole_lanes(by_window));
}
int64_t floats_of_scores(const PairedShape& shape) { return kMostQueries * most_keys(shape); }
int64_t floats_of_rows(const PairedShape& shape) { return kMostQueries * shape.head_size; }

void pack_columns(const PairedShape& shape, HeadRows<const BFloat16> rows, uint32_t* words_AP) {
  const int64_t padded = shape.padded();
  const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i places =
      _mm512_mullo_epi32(lanes, _mm512_set1_epi32(static_cast<int32_t>(rows.step / 2)));
  for (int64_t s = 0; s < padded; s += kPairedLanes) {
    const int64_t here = least(kPairedLanes, shape.length - s);
    const auto mask = static_cast<__mmask16>((1U << here) - 1);
    for (int64_t a = 0; a < shape.head_size / 2; ++a) {
      const __m512i words = _mm512_mask_i32gather_epi32(
          _mm512_setzero_si512(), mask, places, reinterpret_cast<const int32_t*>(rows.row(s)) + a,
          sizeof(uint32_t));
      _mm512_storeu_si512(words_AP + a * padded + s, words);
    }
  }
}

void pack_rows(const PairedShape& shape, HeadRows<const BFloat16> rows, uint32_t* words_PA) {
  const int64_t num_pairs = shape.padded() / 2;
  for (int64_t p = 0; p < num_pairs; ++p) {
    uint32_t* words = words_PA + p * shape.head_size;
    if (2 * p < shape.length) {
      pair_rows(rows.row(2 * p), 2 * p + 1 < shape.length ? rows.row(2 * p + 1) : nullptr,
                shape.head_size, words);
    } else {
      for (int64_t a = 0; a < shape.head_size; ++a) words[a] = 0;
    }
  }
}

void attend(const PairedForward& at) {
  const PairedShape& shape = at.shape;
  const int64_t padded = shape.padded();
  float* scores = at.space;
  auto* weights = reinterpret_cast<BFloat16*>(scores + floats_of_scores(shape));
  float* out = at.space + 3 * floats_of_scores(shape) / 2;
  for (int64_t first = 0; first < shape.length;) {
    const QueryBlock block = block_from(first, shape);
    product(rows_of(at.q, first), {at.keys_AP + block.first_key, padded}, block.num_queries(),
            shape.head_size / 2, block.num_keys, {scores, block.num_keys, false});
    run_rows<InstructionSet::kAvx512>(
        CausalSoftmaxLoop<BFloat16>{scores, weights, at.softmax_rows + first * at.softmax_step,
                                    at.softmax_step, block.of_loop(shape.window), shape.scale},
        0, block.num_queries());
    product(rows_of(weights, block.num_keys),
            {at.values_PA + block.first_key / 2 * shape.head_size, shape.head_size},
            block.num_queries(), block.num_keys / 2, shape.head_size,
            {out, shape.head_size, false});
    round_rows(out, block.num_queries(), shape.head_size, at.out, first);
    first = block.last;
  }
}

// Rows of a block of queries in pairs.
template <typename RowOf>
void pair_block(const QueryBlock& block, int64_t columns, const RowOf& row_of, uint32_t* words) {
  for (int64_t row = 0; row < block.num_queries(); row += 2) {
    const BFloat16* high = row + 1 < block.num_queries() ? row_of(row + 1) : nullptr;
    pair_rows(row_of(row), high, columns, words + row / 2 * columns);
  }
}

void attend_backward(const PairedBackward& at) {
  const PairedShape& shape = at.shape;
  const int64_t padded = shape.padded();
  const int64_t head_size = shape.head_size;
  const int64_t half_scores = floats_of_scores(shape) / 2;
  const int64_t half_rows = floats_of_rows(shape) / 2;
  float* scores = at.space;
  float* d_weights = scores + 2 * half_scores;
  auto* weights = reinterpret_cast<BFloat16*>(d_weights + 2 * half_scores);
  auto* d_scores = weights + 2 * half_scores;
  auto* weight_pairs = reinterpret_cast<uint32_t*>(d_scores + 2 * half_scores);
  uint32_t* d_score_pairs = weight_pairs + half_scores;
  uint32_t* q_pairs = d_score_pairs + half_scores;
  uint32_t* d_out_pairs = q_pairs + half_rows;
  auto* d_q = reinterpret_cast<float*>(d_out_pairs + half_rows);
  for (int64_t first = 0; first < shape.length;) {
    const QueryBlock block = block_from(first, shape);
    const int64_t queries = block.num_queries();
    const int64_t keys = block.num_keys;
    product(rows_of(at.q, first), {at.keys_AP + block.first_key, padded}, queries, head_size / 2,
            keys, {scores, keys, false});
    product(rows_of(at.d_out, first), {at.values_AP + block.first_key, padded}, queries,
            head_size / 2, keys, {d_weights, keys, false});
    run_rows<InstructionSet::kAvx512>(
        CausalSoftmaxBackwardLoop<BFloat16>{
            scores, d_weights, weights, d_scores, at.softmax_rows + first * at.softmax_step,
            at.softmax_step, block.of_loop(shape.window), shape.scale},
        0, queries);
    pair_block(
        block, keys, [&](int64_t row) { return weights + row * keys; }, weight_pairs);
    pair_block(
        block, keys, [&](int64_t row) { return d_scores + row * keys; }, d_score_pairs);
    pair_block(
        block, head_size, [&](int64_t row) { return at.q.row(first + row); }, q_pairs);
    pair_block(
        block, head_size, [&](int64_t row) { return at.d_out.row(first + row); }, d_out_pairs);
    const int64_t to = block.first_key * head_size;
    product(columns_of(weight_pairs, keys), {d_out_pairs, head_size}, keys, block.query_pairs(),
            head_size, {at.d_values_PA + to, head_size, true});
    product(columns_of(d_score_pairs, keys), {q_pairs, head_size}, keys, block.query_pairs(),
            head_size, {at.d_keys_PA + to, head_size, true});
    product(rows_of(d_scores, keys), {at.keys_PA + to / 2, head_size}, queries, keys / 2, head_size,
            {d_q, head_size, false});
    round_rows(d_q, queries, head_size, at.d_q, first);
    first = block.last;
  }
}

void round(const PairedShape& shape, const float* from_PA, HeadRows<BFloat16> to) {
  round_rows(from_PA, shape.length, shape.head_size, to, 0);
}

int64_t floats_forward(const PairedShape& shape) {
  return 3 * floats_of_scores(shape) / 2 + floats_of_rows(shape);
}

int64_t floats_backward(const PairedShape& shape) {
  return 4 * floats_of_scores(shape) + 2 * floats_of_rows(shape);
}

}  // namespace

PairedAttentionKernels paired_attention_avx512bf16() {
  return {pack_columns, pack_rows, attend, attend_backward, round, floats_forward, floats_backward};
}

}  // namespace molora
