// Matrices of few bits a value: every row in blocks, each block with a scale of its own.
//
//   int8  value = code * scale, code in -127..127, scale = largest magnitude of 128 values / 127
//   nf4   value = level[code] * scale, scale = largest magnitude of 64 values. The 16 levels are
//         quantiles of a normal distribution (NormalFloat of Dettmers et al., QLoRA, 2023,
//         arXiv 2305.14314), two codes a byte, the first in the high half. The scales stay fp32:
//         QLoRA's second quantisation, of the scales, would save 0.37 bits of 4.5.
//
// Values are rounded to the nearest code (int8: a tie to the even one, nf4: to the lower level).
// Blocks run along the rows of the whole matrix, the last of a row may be short. A slice of columns
// keeps the scales of the blocks that it touches: its values are those of the whole to the bit,
// wherever the cut lies.
//
//   R rows, C columns, B blocks of a row
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include <ATen/ATen.h>

namespace molora {

using at::Tensor;

enum class BlockFormat { kInt8, kNf4 };

// How many neighbours of a row share a scale.
constexpr int64_t block_width(BlockFormat format) {
  return format == BlockFormat::kInt8 ? 128 : 64;
}

// Those of bitsandbytes.
constexpr std::array<float, 16> kNf4Levels = {-1.0F,
                                              -0.6961928009986877F,
                                              -0.5250730514526367F,
                                              -0.39491748809814453F,
                                              -0.28444138169288635F,
                                              -0.18477343022823334F,
                                              -0.09105003625154495F,
                                              0.0F,
                                              0.07958029955625534F,
                                              0.16093020141124725F,
                                              0.24611230194568634F,
                                              0.33791524171829224F,
                                              0.44070982933044434F,
                                              0.5626170039176941F,
                                              0.7229568362236023F,
                                              1.0F};

// Neighbouring columns of the whole matrix.
struct ColumnRange {
  int64_t begin = 0;
  int64_t length = 0;
  int64_t end() const { return begin + length; }
};

// The same columns and those beside them that share a block with one of them. `width`: of the whole
// matrix.
ColumnRange whole_blocks(BlockFormat format, const ColumnRange& columns, int64_t width);

// A slice of columns of a matrix. Copies share the memory.
struct QuantizedMatrix {
  BlockFormat format = BlockFormat::kInt8;
  ColumnRange columns;
  Tensor codes;      // int8: [R, C] int8. nf4: [R, bytes of a row] uint8
  Tensor scales_RB;  // fp32, of the blocks that the columns touch
  Tensor levels;  // nf4: kNf4Levels where the codes are; a copy of 16 numbers would wait for a GPU

  int64_t num_rows() const { return codes.size(0); }
  // Of codes and scales.
  int64_t bytes() const { return static_cast<int64_t>(codes.nbytes() + scales_RB.nbytes()); }
  // How many columns of the first block lie before the slice.
  int64_t offset() const { return columns.begin % block_width(format); }
};

// Room for `num_rows` rows of a slice, on the CPU. nf4: a slice that begins at an odd column leaves
// the high half of its first byte zero, so that every block begins with a byte:
// (begin % 2 + length + 1) / 2 bytes a row.
QuantizedMatrix empty_quantized(BlockFormat format, int64_t num_rows, const ColumnRange& columns);

struct MatrixPlace {
  int64_t row = 0;
  int64_t column = 0;
};

// Fills rows of `matrix` from `first_row` on. values: [rows, columns of whole_blocks()] of the
// whole matrix, of any floating-point type, contiguous, on the CPU; they are quantised as fp32.
// Returns the first value that is not finite, as a place in `values`; such rows are not filled.
[[nodiscard]] std::optional<MatrixPlace> quantize_rows(const Tensor& values,
                                                       const QuantizedMatrix& matrix,
                                                       int64_t first_row);

// A whole matrix, on the CPU. values_RC: finite.
QuantizedMatrix quantize(const Tensor& values_RC, BlockFormat format);

QuantizedMatrix on_device(const QuantizedMatrix& matrix, at::Device device);

// A part of a slice, counted from the slice's own first row and column.
struct MatrixPart {
  int64_t row = 0;
  int64_t num_rows = 0;
  int64_t column = 0;
  int64_t num_columns = 0;
};

// Writes the values of the part to out_RC: [part.num_rows, part.num_columns], contiguous, fp32,
// bf16 or fp64, on the matrix's device. A value is the fp32 product of the formula above,
// converted. REQUIRES: the part begins with the slice or with a block.
void dequantize(const QuantizedMatrix& matrix, const MatrixPart& part, const Tensor& out_RC);

// The same by LibTorch's operators: for devices other than the CPU, and for tests.
void dequantize_by_operators(const QuantizedMatrix& matrix, const MatrixPart& part,
                             const Tensor& out_RC);

// All of it.
Tensor dequantize(const QuantizedMatrix& matrix, at::ScalarType type);

}  // namespace molora
