// Inner products of grouped experts in vectors of 64 bytes, those of bf16 by instructions that
// multiply pairs of bf16 and sum them in fp32. Compiled with AVX-512 and AVX512-BF16.
//
// Values and matrices are rounded to bf16 on the way, as matrix products in bf16 have them.
#define MOLORA_VECTOR_BYTES 64
#include <immintrin.h>

#include "kernels/host/expert_rows_body.h"

namespace molora {
namespace {

constexpr int64_t kFloatLanes = 16;
// Rows that have more values go the way of every type.
constexpr int64_t kMostValues = 256;
constexpr int64_t kProjectTile = 6;

__m512bh as_bf16(__m512i words) { return (__m512bh)words; }
__m512i as_words(__m512bh pairs) { return (__m512i)pairs; }

// (low, high) of each lane as bf16 in one word.
__m512bh pairs_of(__m512 low, __m512 high) {
  const __m512i places =
      _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                       21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return as_bf16(_mm512_permutexvar_epi16(places, as_words(_mm512_cvtne2ps_pbh(high, low))));
}

uint32_t bf16_bits(float value) {
  Bf16 rounded;
  narrow(value, &rounded);
  return rounded.bits;
}
uint32_t pair_of(float low, float high) { return bf16_bits(low) | bf16_bits(high) << 16; }

template <int64_t kRows, int64_t kColumns>
inline void project_pairs_tile(const ExpertRowsArguments& at, int64_t pair, int64_t j) {
  const Bf16* rows[std::size_t{kRows}];
  const Bf16* next[std::size_t{kRows}];
  for (int64_t m = 0; m < kRows; ++m) {
    rows[m] = static_cast<const Bf16*>(at.rows) + at.tokens[pair + m] * at.row_stride;
    const int64_t ahead = pair + kRows + m < at.num_pairs ? pair + kRows + m : pair + m;
    next[m] = static_cast<const Bf16*>(at.rows) + at.tokens[ahead] * at.row_stride;
  }
  const float* matrix = static_cast<const float*>(at.matrix) + j * at.matrix_stride;
  __m512 sums[std::size_t{kRows}][std::size_t{kColumns}];
#pragma GCC unroll 8
  for (int64_t m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
    for (int64_t n = 0; n < kColumns; ++n) sums[m][n] = _mm512_setzero_ps();
  }
  int64_t c = at.begin_column;
  for (; c + 2 * kFloatLanes <= at.end_column; c += 2 * kFloatLanes) {
    if (j == 0) {
#pragma GCC unroll 8
      for (int64_t m = 0; m < kRows; ++m) __builtin_prefetch(next[m] + c);
    }
    __m512bh x[std::size_t{kRows}];
#pragma GCC unroll 8
    for (int64_t m = 0; m < kRows; ++m) x[m] = as_bf16(_mm512_loadu_si512(rows[m] + c));
#pragma GCC unroll 8
    for (int64_t n = 0; n < kColumns; ++n) {
      const float* a = matrix + n * at.matrix_stride + c;
      const __m512bh row =
          _mm512_cvtne2ps_pbh(_mm512_loadu_ps(a + kFloatLanes), _mm512_loadu_ps(a));
#pragma GCC unroll 8
      for (int64_t m = 0; m < kRows; ++m) sums[m][n] = _mm512_dpbf16_ps(sums[m][n], x[m], row);
    }
  }
#pragma GCC unroll 8
  for (int64_t m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
    for (int64_t n = 0; n < kColumns; ++n) {
      float sum = sum_lanes<float>(reinterpret_cast<Floats>(sums[m][n]));
      for (int64_t rest = c; rest < at.end_column; ++rest) {
        sum += widen(rows[m][rest]) * matrix[n * at.matrix_stride + rest];
      }
      static_cast<float*>(at.values)[(pair + m) * at.lora_rank + j + n] = sum;
    }
  }
}

template <int64_t kRows>
inline void project_pairs_rows(const ExpertRowsArguments& at, int64_t pair) {
  int64_t j = 0;
  for (; j + 4 <= at.lora_rank; j += 4) project_pairs_tile<kRows, 4>(at, pair, j);
  for (; j < at.lora_rank; ++j) project_pairs_tile<kRows, 1>(at, pair, j);
}

void project_pairs(const ExpertRowsArguments& at) {
  int64_t pair = 0;
  for (; pair + kProjectTile <= at.num_pairs; pair += kProjectTile) {
    project_pairs_rows<kProjectTile>(at, pair);
  }
  for (; pair + 2 <= at.num_pairs; pair += 2) project_pairs_rows<2>(at, pair);
  for (; pair < at.num_pairs; ++pair) project_pairs_rows<1>(at, pair);
}

// A matrix's rows in pairs, of at.begin_column ... at.end_column - 1: all products of an expert's
// rows read them.
constexpr int64_t kMostPackedWords = int64_t{16} * 1024;

struct PackedPairs {
  const uint32_t* words;
  int64_t step;  // from a pair of rows to the next
};

void pack_pairs(const ExpertRowsArguments& at, const PackedPairs& to, uint32_t* words) {
  for (int64_t w = 0; w < (at.lora_rank + 1) / 2; ++w) {
    const float* low = static_cast<const float*>(at.matrix) + 2 * w * at.matrix_stride;
    for (int64_t c = at.begin_column; c + kFloatLanes <= at.end_column; c += kFloatLanes) {
      const __m512 high = 2 * w + 1 < at.lora_rank ? _mm512_loadu_ps(low + at.matrix_stride + c)
                                                   : _mm512_setzero_ps();
      _mm512_storeu_si512(words + w * to.step + c - at.begin_column,
                          as_words(pairs_of(_mm512_loadu_ps(low + c), high)));
    }
  }
}

// words: by row and pair of values, (r + 1) / 2 a row.
template <int64_t kRows, int64_t kVectors>
inline void expand_pairs_tile(const ExpertRowsArguments& at, const PackedPairs& packed,
                              const uint32_t* words, int64_t pair, int64_t c) {
  Bf16* rows[std::size_t{kRows}];
  for (int64_t m = 0; m < kRows; ++m) {
    rows[m] = static_cast<Bf16*>(at.rows) + at.tokens[pair + m] * at.row_stride + c;
  }
  const int64_t words_of_row = (at.lora_rank + 1) / 2;
  const uint32_t* matrix = packed.words + c - at.begin_column;
  __m512 sums[std::size_t{kRows}][std::size_t{kVectors}];
#pragma GCC unroll 8
  for (int64_t m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v) {
      sums[m][v] = reinterpret_cast<__m512>(load(rows[m] + v * kFloatLanes));
    }
  }
  for (int64_t w = 0; w < words_of_row; ++w) {
    __m512bh b[std::size_t{kVectors}];
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v) {
      b[v] = as_bf16(_mm512_loadu_si512(matrix + w * packed.step + v * kFloatLanes));
    }
#pragma GCC unroll 8
    for (int64_t m = 0; m < kRows; ++m) {
      const __m512bh value =
          as_bf16(_mm512_set1_epi32(static_cast<int32_t>(words[m * words_of_row + w])));
#pragma GCC unroll 8
      for (int64_t v = 0; v < kVectors; ++v) {
        sums[m][v] = _mm512_dpbf16_ps(sums[m][v], value, b[v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int64_t m = 0; m < kRows; ++m) {
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v) {
      const __m256bh rounded = _mm512_cvtneps_pbh(sums[m][v]);
      __builtin_memcpy(rows[m] + v * kFloatLanes, &rounded, sizeof(rounded));
    }
  }
}

template <int64_t kRows>
inline void expand_pairs_rows(const ExpertRowsArguments& at, const PackedPairs& packed,
                              int64_t pair) {
  uint32_t words[std::size_t{kRows * (kMostValues + 1) / 2}];
  const int64_t words_of_row = (at.lora_rank + 1) / 2;
  for (int64_t m = 0; m < kRows; ++m) {
    const float* values = static_cast<const float*>(at.values) + (pair + m) * at.lora_rank;
    for (int64_t w = 0; w < words_of_row; ++w) {
      words[m * words_of_row + w] =
          pair_of(values[2 * w], 2 * w + 1 < at.lora_rank ? values[2 * w + 1] : 0.0F);
    }
  }
  int64_t c = at.begin_column;
  for (; c + 3 * kFloatLanes <= at.end_column; c += 3 * kFloatLanes) {
    expand_pairs_tile<kRows, 3>(at, packed, words, pair, c);
  }
  for (; c + kFloatLanes <= at.end_column; c += kFloatLanes) {
    expand_pairs_tile<kRows, 1>(at, packed, words, pair, c);
  }
  if (c == at.end_column) return;
  for (int64_t m = 0; m < kRows; ++m) expand_rest<Bf16>(at, pair + m, c);
}

void expand_pairs(const ExpertRowsArguments& whole) {
  if (whole.lora_rank > kMostValues) return expand<Bf16>(whole);
  uint32_t words[std::size_t{kMostPackedWords}];
  constexpr int64_t kTileColumns = 3 * kFloatLanes;
  const int64_t step = kMostPackedWords / ((whole.lora_rank + 1) / 2) / kTileColumns * kTileColumns;
  const PackedPairs packed = {words, step};
  for (int64_t begin = whole.begin_column; begin < whole.end_column; begin += step) {
    ExpertRowsArguments at = whole;
    at.begin_column = begin;
    if (at.end_column - begin > step) at.end_column = begin + step;
    pack_pairs(at, packed, words);
    int64_t pair = 0;
    for (; pair + kRowTile <= at.num_pairs; pair += kRowTile) {
      expand_pairs_rows<kRowTile>(at, packed, pair);
    }
    for (; pair + 2 <= at.num_pairs; pair += 2) expand_pairs_rows<2>(at, packed, pair);
    for (; pair < at.num_pairs; ++pair) expand_pairs_rows<1>(at, packed, pair);
  }
}

// Two rows of bf16 as pairs.
inline __m512bh row_pairs(const Bf16* low, const Bf16* high) {
  HalfWords even;
  HalfWords odd;
  __builtin_memcpy(&even, low, sizeof(even));
  __builtin_memcpy(&odd, high, sizeof(odd));
  return reinterpret_cast<__m512bh>(__builtin_convertvector(even, Words) |
                                    __builtin_convertvector(odd, Words) << 16);
}

// words: by pair of rows and value, kValues a pair; a row without another has one of zeros.
template <int64_t kValues, int64_t kVectors>
inline void outer_pairs_tile(const ExpertRowsArguments& at, const Pairs& pairs,
                             const uint32_t* words, int64_t j, int64_t c) {
  float* matrix = static_cast<float*>(at.matrix) + j * at.matrix_stride + c;
  const Bf16* all_rows = static_cast<const Bf16*>(at.rows) + c;
  __m512 sums[std::size_t{kValues}][std::size_t{kVectors}];
#pragma GCC unroll 8
  for (int64_t i = 0; i < kValues; ++i) {
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v) sums[i][v] = _mm512_setzero_ps();
  }
  for (int64_t p = pairs.begin; p < pairs.end; p += 2, words += kValues) {
    const int64_t other = p + 1 < pairs.end ? p + 1 : p;
    const Bf16* low = all_rows + at.tokens[p] * at.row_stride;
    const Bf16* high = all_rows + at.tokens[other] * at.row_stride;
    if (p + kOuterAhead + 1 < pairs.end) {
      prefetch<Bf16, kVectors>(all_rows + at.tokens[p + kOuterAhead] * at.row_stride);
      prefetch<Bf16, kVectors>(all_rows + at.tokens[p + kOuterAhead + 1] * at.row_stride);
    }
    __m512bh x[std::size_t{kVectors}];
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v) {
      x[v] = row_pairs(low + v * kFloatLanes, high + v * kFloatLanes);
    }
#pragma GCC unroll 8
    for (int64_t i = 0; i < kValues; ++i) {
      const __m512bh value = as_bf16(_mm512_set1_epi32(static_cast<int32_t>(words[i])));
#pragma GCC unroll 8
      for (int64_t v = 0; v < kVectors; ++v) {
        sums[i][v] = _mm512_dpbf16_ps(sums[i][v], value, x[v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int64_t i = 0; i < kValues; ++i) {
#pragma GCC unroll 8
    for (int64_t v = 0; v < kVectors; ++v) {
      float* to = matrix + i * at.matrix_stride + v * kFloatLanes;
      _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), sums[i][v]));
    }
  }
}

template <int64_t kValues>
inline void outer_pairs_values(const ExpertRowsArguments& at, const Pairs& pairs, int64_t j) {
  uint32_t words[std::size_t{kOuterPairs / 2 * kValues}];
  uint32_t* word = words;
  for (int64_t p = pairs.begin; p < pairs.end; p += 2) {
    const float* values = static_cast<const float*>(at.values) + p * at.lora_rank + j;
    for (int64_t i = 0; i < kValues; ++i) {
      *word++ = pair_of(values[i], p + 1 < pairs.end ? values[at.lora_rank + i] : 0.0F);
    }
  }
  int64_t c = at.begin_column;
  for (; c + 3 * kFloatLanes <= at.end_column; c += 3 * kFloatLanes) {
    outer_pairs_tile<kValues, 3>(at, pairs, words, j, c);
  }
  for (; c + kFloatLanes <= at.end_column; c += kFloatLanes) {
    outer_pairs_tile<kValues, 1>(at, pairs, words, j, c);
  }
  if (c == at.end_column) return;
  for (int64_t i = 0; i < kValues; ++i) outer_rest<Bf16>(at, pairs, j + i, c);
}

void sum_outer_pairs(const ExpertRowsArguments& at) {
  for (int64_t begin = 0; begin < at.num_pairs; begin += kOuterPairs) {
    const int64_t end = begin + kOuterPairs;
    const Pairs pairs = {begin, end < at.num_pairs ? end : at.num_pairs};
    int64_t j = 0;
    for (; j + kRowTile <= at.lora_rank; j += kRowTile) outer_pairs_values<kRowTile>(at, pairs, j);
    for (; j < at.lora_rank; ++j) outer_pairs_values<1>(at, pairs, j);
  }
}

}  // namespace

ExpertRowsKernelSet expert_rows_kernels_avx512bf16() {
  ExpertRowsKernelSet set = all_kernels();
  set.bf16 = {project_pairs, expand_pairs, sum_outer_pairs};
  return set;
}

}  // namespace molora
