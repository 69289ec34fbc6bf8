#include "tensor/blockwise_quantization.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <vector>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/record_function.h>

#include "base/check.h"
#include "tensor/block_codes.h"

namespace molora {

namespace {

// Rows for a thread: below some ten thousand values starting it costs more than they do.
int64_t rows_of_a_task(int64_t width) {
  return std::max<int64_t>(1, 32768 / std::max<int64_t>(1, width));
}

// The bytes of a row before column `column` of the slice, which begins with a byte.
int64_t code_bytes_before(const QuantizedMatrix& matrix, int64_t column) {
  if (matrix.format == BlockFormat::kInt8) return column;
  return (matrix.offset() % 2 + column) / 2;
}

// Codes of a block, one a byte, to the halves of bytes from half `first` on.
void pack_halves(const uint8_t* codes, int64_t count, int64_t first, uint8_t* row) {
  for (int64_t i = 0; i < count; ++i) {
    uint8_t& byte = row[(first + i) / 2];
    byte = static_cast<uint8_t>((first + i) % 2 == 0 ? codes[i] << 4 : byte | codes[i]);
  }
}

// Quantises one row, block by block.
class RowEncoder {
 public:
  RowEncoder(const QuantizedMatrix& matrix, int64_t num_values)
      : matrix_(matrix), width_(block_width(matrix.format)), num_values_(num_values) {}

  // Returns the first value that is not finite, or -1.
  template <typename Number>
  int64_t encode(const Number* values, int64_t row) {
    for (int64_t block = 0, begin = 0; begin < num_values_; ++block, begin += width_) {
      const int64_t count = std::min(width_, num_values_ - begin);
      for (int64_t i = 0; i < count; ++i) values_[i] = static_cast<float>(values[begin + i]);
      const uint32_t magnitude = largest_magnitude_bits(values_, count);
      if (magnitude >= kNotFiniteBits) return begin + first_not_finite(count);
      matrix_.scales_RB.mutable_data_ptr<float>()[row * matrix_.scales_RB.size(1) + block] =
          encode_block(row, begin, count, std::bit_cast<float>(magnitude));
    }
    return -1;
  }

 private:
  int64_t first_not_finite(int64_t count) const {
    int64_t i = 0;
    while (i < count && largest_magnitude_bits(values_ + i, 1) < kNotFiniteBits) ++i;
    return i;
  }

  // Keeps the codes of the values within the slice. Returns the scale.
  float encode_block(int64_t row, int64_t begin, int64_t count, float magnitude) {
    const int64_t offset = matrix_.offset();
    const int64_t from = std::max(begin, offset);
    const int64_t to = std::min(begin + count, offset + matrix_.columns.length);
    const float* kept = values_ + (from - begin);
    const int64_t column = from - offset;
    const int64_t row_bytes = matrix_.codes.size(1);
    if (matrix_.format == BlockFormat::kInt8) {
      return encode_int8(kept, to - from, magnitude,
                         matrix_.codes.mutable_data_ptr<int8_t>() + row * row_bytes + column);
    }
    uint8_t codes[block_width(BlockFormat::kNf4)];
    const float scale = encode_nf4(kept, to - from, magnitude, codes);
    pack_halves(codes, to - from, offset % 2 + column,
                matrix_.codes.mutable_data_ptr<uint8_t>() + row * row_bytes);
    return scale;
  }

  const QuantizedMatrix& matrix_;
  int64_t width_;
  int64_t num_values_;
  float values_[block_width(BlockFormat::kInt8)];
};

template <typename Number>
void dequantize_rows(const QuantizedMatrix& matrix, const MatrixPart& part, Number* out) {
  const int64_t width = block_width(matrix.format);
  const int64_t position = matrix.offset() + part.column;
  const BlockRun run{position % width, part.num_columns};
  const int64_t row_bytes = matrix.codes.size(1);
  const int64_t row_scales = matrix.scales_RB.size(1);
  const int64_t first_byte = code_bytes_before(matrix, part.column);
  const float* scales = matrix.scales_RB.const_data_ptr<float>() + position / width;
  at::parallel_for(
      part.row, part.row + part.num_rows, rows_of_a_task(part.num_columns),
      [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
          Number* out_row = out + (row - part.row) * part.num_columns;
          const float* row_scale = scales + row * row_scales;
          if (matrix.format == BlockFormat::kInt8) {
            const int8_t* codes = matrix.codes.const_data_ptr<int8_t>() + row * row_bytes;
            decode_int8(codes + first_byte, row_scale, run, out_row);
          } else {
            const uint8_t* codes = matrix.codes.const_data_ptr<uint8_t>() + row * row_bytes;
            decode_nf4(codes + first_byte, row_scale, run, out_row);
          }
        }
      });
}

void check_part(const QuantizedMatrix& matrix, const MatrixPart& part, const Tensor& out_RC) {
  MOLORA_CHECK(part.row >= 0 && part.num_rows >= 0 && part.row + part.num_rows <= matrix.num_rows(),
               "rows {} from {} of {}", part.num_rows, part.row, matrix.num_rows());
  MOLORA_CHECK(part.column >= 0 && part.num_columns >= 0 &&
                   part.column + part.num_columns <= matrix.columns.length,
               "columns {} from {} of {}", part.num_columns, part.column, matrix.columns.length);
  MOLORA_CHECK(
      part.column == 0 || (matrix.offset() + part.column) % block_width(matrix.format) == 0,
      "column {} is within a block", part.column);
  MOLORA_CHECK(out_RC.sizes() == at::IntArrayRef({part.num_rows, part.num_columns}) &&
                   out_RC.is_contiguous() && out_RC.device() == matrix.codes.device(),
               "a result of {} elements for {} by {} values", out_RC.numel(), part.num_rows,
               part.num_columns);
}

// Codes of the part as indices or numbers: [rows, columns].
Tensor unpacked_codes(const QuantizedMatrix& matrix, const MatrixPart& part) {
  const Tensor rows = matrix.codes.narrow(0, part.row, part.num_rows);
  if (matrix.format == BlockFormat::kInt8) return rows.narrow(1, part.column, part.num_columns);
  const int64_t first = matrix.offset() % 2 + part.column;
  const int64_t last = first + part.num_columns;
  const Tensor bytes = rows.slice(1, first / 2, (last + 1) / 2);
  const Tensor halves = at::stack({bytes.bitwise_right_shift(4), bytes.bitwise_and(15)}, 2);
  return halves.flatten(1).narrow(1, first % 2, part.num_columns);
}

}  // namespace

ColumnRange whole_blocks(BlockFormat format, const ColumnRange& columns, int64_t width) {
  MOLORA_CHECK(columns.begin >= 0 && columns.length >= 0 && columns.end() <= width,
               "columns {} from {} of {}", columns.length, columns.begin, width);
  const int64_t block = block_width(format);
  const int64_t begin = columns.begin / block * block;
  const int64_t end = std::min((columns.end() + block - 1) / block * block, width);
  return {begin, std::max<int64_t>(0, end - begin)};
}

QuantizedMatrix empty_quantized(BlockFormat format, int64_t num_rows, const ColumnRange& columns) {
  QuantizedMatrix matrix;
  matrix.format = format;
  matrix.columns = columns;
  const int64_t block = block_width(format);
  const int64_t num_blocks = (matrix.offset() + columns.length + block - 1) / block;
  const bool is_int8 = format == BlockFormat::kInt8;
  const int64_t row_bytes =
      is_int8 ? columns.length : (matrix.offset() % 2 + columns.length + 1) / 2;
  matrix.codes = at::zeros({num_rows, row_bytes}, is_int8 ? at::kChar : at::kByte);
  matrix.scales_RB = at::zeros({num_rows, num_blocks}, at::kFloat);
  if (!is_int8) matrix.levels = at::tensor(at::ArrayRef<float>(kNf4Levels));
  return matrix;
}

std::optional<MatrixPlace> quantize_rows(const Tensor& values, const QuantizedMatrix& matrix,
                                         int64_t first_row) {
  const int64_t num_values = values.size(1);
  MOLORA_CHECK(values.is_contiguous() && values.is_cpu() && matrix.codes.is_cpu());
  MOLORA_CHECK(num_values >= matrix.offset() + matrix.columns.length &&
                   num_values <= matrix.scales_RB.size(1) * block_width(matrix.format),
               "{} values of whole blocks for columns {} from {}", num_values,
               matrix.columns.length, matrix.columns.begin);
  MOLORA_CHECK(first_row >= 0 && first_row + values.size(0) <= matrix.num_rows(),
               "rows {} from {} of {}", values.size(0), first_row, matrix.num_rows());
  std::vector<int64_t> bad_column(static_cast<size_t>(values.size(0)), -1);
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kBFloat16, at::kHalf, values.scalar_type(), "quantize_rows", [&] {
        const auto* data = values.const_data_ptr<scalar_t>();
        at::parallel_for(0, values.size(0), rows_of_a_task(num_values),
                         [&](int64_t begin, int64_t end) {
                           RowEncoder encoder(matrix, num_values);
                           for (int64_t row = begin; row < end; ++row) {
                             bad_column[static_cast<size_t>(row)] =
                                 encoder.encode(data + row * num_values, first_row + row);
                           }
                         });
      });
  for (size_t row = 0; row < bad_column.size(); ++row) {
    if (bad_column[row] >= 0) return MatrixPlace{static_cast<int64_t>(row), bad_column[row]};
  }
  return std::nullopt;
}

QuantizedMatrix quantize(const Tensor& values_RC, BlockFormat format) {
  QuantizedMatrix matrix = empty_quantized(format, values_RC.size(0), {0, values_RC.size(1)});
  const std::optional<MatrixPlace> bad = quantize_rows(values_RC, matrix, 0);
  MOLORA_CHECK(!bad, "row {}, column {} is not finite", bad->row, bad->column);
  return matrix;
}

QuantizedMatrix on_device(const QuantizedMatrix& matrix, at::Device device) {
  QuantizedMatrix there = matrix;
  there.codes = matrix.codes.to(device);
  there.scales_RB = matrix.scales_RB.to(device);
  if (matrix.levels.defined()) there.levels = matrix.levels.to(device);
  return there;
}

void dequantize(const QuantizedMatrix& matrix, const MatrixPart& part, const Tensor& out_RC) {
  RECORD_FUNCTION("molora::dequantize", {});
  if (!matrix.codes.is_cpu()) return dequantize_by_operators(matrix, part, out_RC);
  check_part(matrix, part, out_RC);
  switch (out_RC.scalar_type()) {
    case at::kFloat:
      return dequantize_rows(matrix, part, out_RC.mutable_data_ptr<float>());
    case at::kDouble:
      return dequantize_rows(matrix, part, out_RC.mutable_data_ptr<double>());
    case at::kBFloat16:
      return dequantize_rows(matrix, part, static_cast<uint16_t*>(out_RC.mutable_data_ptr()));
    default:
      MOLORA_CHECK(false, "values of type {}", at::toString(out_RC.scalar_type()));
  }
}

void dequantize_by_operators(const QuantizedMatrix& matrix, const MatrixPart& part,
                             const Tensor& out_RC) {
  check_part(matrix, part, out_RC);
  const int64_t width = block_width(matrix.format);
  const auto indices = at::TensorOptions().dtype(at::kLong).device(out_RC.device());
  const int64_t first = matrix.offset() + part.column;
  const Tensor block_C = at::arange(first, first + part.num_columns, indices).div_(width, "floor");
  const Tensor scales_RC =
      matrix.scales_RB.narrow(0, part.row, part.num_rows).index_select(1, block_C);
  const Tensor codes_RC = unpacked_codes(matrix, part);
  if (matrix.format == BlockFormat::kInt8) {
    out_RC.copy_(codes_RC.to(at::kFloat).mul_(scales_RC));
    return;
  }
  const Tensor values_RC = matrix.levels.index_select(0, codes_RC.to(at::kInt).flatten());
  out_RC.copy_(values_RC.view(scales_RC.sizes()).mul_(scales_RC));
}

Tensor dequantize(const QuantizedMatrix& matrix, at::ScalarType type) {
  Tensor values =
      at::empty({matrix.num_rows(), matrix.columns.length}, matrix.scales_RB.options().dtype(type));
  dequantize(matrix, {0, matrix.num_rows(), 0, matrix.columns.length}, values);
  return values;
}

}  // namespace molora
