// Bodies of the inner products of grouped experts. Included by one file for each set of vector
// instructions. Tiles are as large as there are registers for.
//
//   project    kProjectRows rows x 4 rows of the matrix, summed over columns
//   expand     kRowTile rows x 3 vectors of columns, summed over the values of a row
//   sum_outer  kRowTile values x 3 vectors of columns, summed over rows
#pragma once

#include <cstddef>

#include "kernels/host/expert_rows_kernels.h"
#include "kernels/host/expert_rows_vector.h"

namespace molora {
namespace {

constexpr int64_t kProjectRows = kVectorBytes == 64 ? 4 : 2;
constexpr int64_t kRowTile = kVectorBytes == 64 ? 8 : 4;

template <typename Number, int64_t kRows, int64_t kColumns>
inline void project_tile(const ExpertRowsArguments& at, int64_t pair, int64_t j) {
  using W = Wide<Number>;
  const Number* rows[std::size_t{kRows}];
  const Number* next[std::size_t{kRows}];
  for (int64_t m = 0; m < kRows; ++m) {
    rows[m] = static_cast<const Number*>(at.rows) + at.tokens[pair + m] * at.row_stride;
    const int64_t ahead = pair + kRows + m < at.num_pairs ? pair + kRows + m : pair + m;
    next[m] = static_cast<const Number*>(at.rows) + at.tokens[ahead] * at.row_stride;
  }
  const W* matrix = static_cast<const W*>(at.matrix) + j * at.matrix_stride;
  Vector<Number> sums[std::size_t{kRows}][std::size_t{kColumns}] = {};
  int64_t c = at.begin_column;
  for (; c + kLanes<Number> <= at.end_column; c += kLanes<Number>) {
    if (j == 0) {
#pragma GCC unroll 8
      for (int64_t m = 0; m < kRows; ++m) prefetch<Number, 1>(next[m] + c);
    }
    Vector<Number> x[std::size_t{kRows}];
#pragma GCC unroll 8
    for (int64_t m = 0; m < kRows; ++m) x[m] = load(rows[m] + c);
#pragma GCC unroll 8
    for (int64_t n = 0; n < kColumns; ++n) {
      const Vector<Number> a = load(matrix + n * at.matrix_stride + c);
#pragma GCC unroll 8
      for (int64_t m = 0; m < kRows; ++m) sums[m][n] += x[m] * a;
    }
  }
#pragma GCC unroll 8
  for (int64_t m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
    for (int64_t n = 0; n < kColumns; ++n) {
      W sum = sum_lanes<Number>(sums[m][n]);
      for (int64_t rest = c; rest < at.end_column; ++rest) {
        sum += widen(rows[m][rest]) * matrix[n * at.matrix_stride + rest];
      }
      static_cast<W*>(at.values)[(pair + m) * at.lora_rank + j + n] = sum;
    }
  }
}

template <typename Number, int64_t kRows>
inline void project_rows(const ExpertRowsArguments& at, int64_t pair) {
  int64_t j = 0;
  for (; j + 4 <= at.lora_rank; j += 4) project_tile<Number, kRows, 4>(at, pair, j);
  for (; j < at.lora_rank; ++j) project_tile<Number, kRows, 1>(at, pair, j);
}

template <typename Number>
void project(const ExpertRowsArguments& at) {
  int64_t pair = 0;
  for (; pair + kProjectRows <= at.num_pairs; pair += kProjectRows) {
    project_rows<Number, kProjectRows>(at, pair);
  }
  for (; pair < at.num_pairs; ++pair) project_rows<Number, 1>(at, pair);
}

template <typename Number, int64_t kRows, int64_t kVectors>
inline void expand_tile(const ExpertRowsArguments& at, int64_t pair, int64_t c) {
  using W = Wide<Number>;
  Number* rows[std::size_t{kRows}];
  for (int64_t m = 0; m < kRows; ++m) {
    rows[m] = static_cast<Number*>(at.rows) + at.tokens[pair + m] * at.row_stride + c;
  }
  const W* values = static_cast<const W*>(at.values) + pair * at.lora_rank;
  const W* matrix = static_cast<const W*>(at.matrix) + c;
  Vector<Number> sums[std::size_t{kRows}][std::size_t{kVectors}];
#pragma GCC unroll 8
  for (int64_t m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v) sums[m][v] = load(rows[m] + v * kLanes<Number>);
  }
  for (int64_t j = 0; j < at.lora_rank; ++j) {
    Vector<Number> b[std::size_t{kVectors}];
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v) {
      b[v] = load(matrix + j * at.matrix_stride + v * kLanes<Number>);
    }
#pragma GCC unroll 8
    for (int64_t m = 0; m < kRows; ++m) {
      const W value = values[m * at.lora_rank + j];
#pragma GCC unroll 8
      for (int64_t v = 0; v < kVectors; ++v) sums[m][v] += b[v] * value;
    }
  }
#pragma GCC unroll 8
  for (int64_t m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v) store(sums[m][v], rows[m] + v * kLanes<Number>);
  }
}

// Columns that fill no vector.
template <typename Number>
void expand_rest(const ExpertRowsArguments& at, int64_t pair, int64_t begin) {
  using W = Wide<Number>;
  Number* row = static_cast<Number*>(at.rows) + at.tokens[pair] * at.row_stride;
  const W* values = static_cast<const W*>(at.values) + pair * at.lora_rank;
  for (int64_t c = begin; c < at.end_column; ++c) {
    W sum = widen(row[c]);
    for (int64_t j = 0; j < at.lora_rank; ++j) {
      sum += values[j] * static_cast<const W*>(at.matrix)[j * at.matrix_stride + c];
    }
    narrow(sum, &row[c]);
  }
}

template <typename Number, int64_t kRows>
inline void expand_rows(const ExpertRowsArguments& at, int64_t pair) {
  int64_t c = at.begin_column;
  for (; c + 3 * kLanes<Number> <= at.end_column; c += 3 * kLanes<Number>) {
    expand_tile<Number, kRows, 3>(at, pair, c);
  }
  for (; c + kLanes<Number> <= at.end_column; c += kLanes<Number>) {
    expand_tile<Number, kRows, 1>(at, pair, c);
  }
  if (c == at.end_column) return;
  for (int64_t m = 0; m < kRows; ++m) expand_rest<Number>(at, pair + m, c);
}

template <typename Number>
void expand(const ExpertRowsArguments& at) {
  int64_t pair = 0;
  for (; pair + kRowTile <= at.num_pairs; pair += kRowTile) expand_rows<Number, kRowTile>(at, pair);
  for (; pair < at.num_pairs; ++pair) expand_rows<Number, 1>(at, pair);
}

// How many rows ahead the next ones are asked for.
constexpr int64_t kOuterAhead = 8;

struct Pairs {
  int64_t begin;
  int64_t end;
};

template <typename Number, int64_t kValues, int64_t kVectors>
inline void outer_tile(const ExpertRowsArguments& at, const Pairs& pairs, int64_t j, int64_t c) {
  using W = Wide<Number>;
  const W* values = static_cast<const W*>(at.values) + j;
  W* matrix = static_cast<W*>(at.matrix) + j * at.matrix_stride + c;
  Vector<Number> sums[std::size_t{kValues}][std::size_t{kVectors}] = {};
  for (int64_t p = pairs.begin; p < pairs.end; ++p) {
    const Number* row = static_cast<const Number*>(at.rows) + at.tokens[p] * at.row_stride + c;
    if (p + kOuterAhead < pairs.end) {
      prefetch<Number, kVectors>(static_cast<const Number*>(at.rows) +
                                 at.tokens[p + kOuterAhead] * at.row_stride + c);
    }
    Vector<Number> x[std::size_t{kVectors}];
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v) x[v] = load(row + v * kLanes<Number>);
#pragma GCC unroll 8
    for (int64_t i = 0; i < kValues; ++i) {
      const W value = values[p * at.lora_rank + i];
#pragma GCC unroll 8
      for (int64_t v = 0; v < kVectors; ++v) sums[i][v] += x[v] * value;
    }
  }
#pragma GCC unroll 8
  for (int64_t i = 0; i < kValues; ++i) {
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v) {
      W* to = matrix + i * at.matrix_stride + v * kLanes<Number>;
      store(load(to) + sums[i][v], to);
    }
  }
}

template <typename Number>
void outer_rest(const ExpertRowsArguments& at, const Pairs& pairs, int64_t j, int64_t begin) {
  using W = Wide<Number>;
  for (int64_t c = begin; c < at.end_column; ++c) {
    W sum = 0;
    for (int64_t p = pairs.begin; p < pairs.end; ++p) {
      const Number* row = static_cast<const Number*>(at.rows) + at.tokens[p] * at.row_stride;
      sum += static_cast<const W*>(at.values)[p * at.lora_rank + j] * widen(row[c]);
    }
    static_cast<W*>(at.matrix)[j * at.matrix_stride + c] += sum;
  }
}

template <typename Number, int64_t kVectors>
inline void outer_columns(const ExpertRowsArguments& at, const Pairs& pairs, int64_t c) {
  int64_t j = 0;
  for (; j + kRowTile <= at.lora_rank; j += kRowTile) {
    outer_tile<Number, kRowTile, kVectors>(at, pairs, j, c);
  }
  for (; j < at.lora_rank; ++j) outer_tile<Number, 1, kVectors>(at, pairs, j, c);
}

// In parts of so many rows: partial sums stay exact to more digits, and a part's rows in a cache.
constexpr int64_t kOuterPairs = 256;

template <typename Number>
void sum_outer(const ExpertRowsArguments& at) {
  for (int64_t begin = 0; begin < at.num_pairs; begin += kOuterPairs) {
    const int64_t end = begin + kOuterPairs;
    const Pairs pairs = {begin, end < at.num_pairs ? end : at.num_pairs};
    int64_t c = at.begin_column;
    for (; c + 3 * kLanes<Number> <= at.end_column; c += 3 * kLanes<Number>) {
      outer_columns<Number, 3>(at, pairs, c);
    }
    for (; c + kLanes<Number> <= at.end_column; c += kLanes<Number>) {
      outer_columns<Number, 1>(at, pairs, c);
    }
    if (c == at.end_column) continue;
    for (int64_t j = 0; j < at.lora_rank; ++j) outer_rest<Number>(at, pairs, j, c);
  }
}

template <typename Number>
ExpertRowsKernels kernels_of() {
  return {project<Number>, expand<Number>, sum_outer<Number>};
}

inline ExpertRowsKernelSet all_kernels() {
  return {kernels_of<float>(), kernels_of<double>(), kernels_of<Bf16>()};
}

}  // namespace
}  // namespace molora
