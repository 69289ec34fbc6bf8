#include "tensor/blockwise_quantization.h"

#include <cmath>
#include <cstring>
#include <limits>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/quantized_slice.h"
#include "tensor/philox_tensor.h"
#include "tensor/tensor_bytes.h"

namespace molora {
namespace {

constexpr BlockFormat kFormats[] = {BlockFormat::kInt8, BlockFormat::kNf4};
constexpr at::ScalarType kTypes[] = {at::kFloat, at::kBFloat16, at::kDouble};

const char* name_of(BlockFormat format) { return format == BlockFormat::kInt8 ? "int8" : "nf4"; }

Tensor random_matrix(int64_t rows, int64_t columns, uint64_t seed = 3) {
  Tensor values = at::empty({rows, columns}, at::kFloat);
  fill_uniform(values, 1.0, seed, 0);
  // Rows of different sizes, so that a scale of another row or block would show.
  return values.mul_(at::pow(2.0, at::arange(rows, at::kFloat).remainder(7.0)).unsqueeze(1));
}

bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.scalar_type() != b.scalar_type() || a.sizes() != b.sizes()) return false;
  const Tensor x = a.contiguous();
  const Tensor y = b.contiguous();
  return x.numel() == 0 ||
         std::memcmp(tensor_bytes(x).data(), tensor_bytes(y).data(), x.nbytes()) == 0;
}

Tensor one_row(std::vector<float> values) { return at::tensor(values).unsqueeze(0); }

TEST(BlockwiseQuantization, Nf4LevelsAreThePublishedOnes) {
  const double published[] = {-1.0,
                              -0.6961928009986877,
                              -0.5250730514526367,
                              -0.39491748809814453,
                              -0.28444138169288635,
                              -0.18477343022823334,
                              -0.09105003625154495,
                              0.0,
                              0.07958029955625534,
                              0.16093020141124725,
                              0.24611230194568634,
                              0.33791524171829224,
                              0.44070982933044434,
                              0.5626170039176941,
                              0.7229568362236023,
                              1.0};
  ASSERT_EQ(kNf4Levels.size(), std::size(published));
  for (size_t i = 0; i < kNf4Levels.size(); ++i) {
    EXPECT_EQ(static_cast<double>(kNf4Levels[i]), published[i]) << i;
  }
}

TEST(BlockwiseQuantization, Nf4CodesAreTheLevelsInOrderTwoAByteFirstOneHigh) {
  const Tensor levels = at::tensor(at::ArrayRef<float>(kNf4Levels));
  const QuantizedMatrix matrix = quantize(levels.mul(3.5).unsqueeze(0), BlockFormat::kNf4);
  EXPECT_EQ(matrix.scales_RB.item<float>(), 3.5F);
  for (int64_t i = 0; i < 8; ++i) {
    EXPECT_EQ(matrix.codes[0][i].item<int64_t>(), (2 * i) << 4 | (2 * i + 1)) << i;
  }
  EXPECT_TRUE(same_bits(dequantize(matrix, at::kFloat), levels.mul(3.5).unsqueeze(0)));
}

// The thresholds of bitsandbytes; it takes the upper level above them only.
TEST(BlockwiseQuantization, Nf4TiesGoToTheLowerLevel) {
  const float thresholds[] = {-0.8480964004993439F,   -0.6106329262256622F,  -0.4599952697753906F,
                              -0.33967943489551544F,  -0.23460740596055984F, -0.13791173323988914F,
                              -0.045525018125772476F, 0.03979014977812767F,  0.1202552504837513F,
                              0.2035212516784668F,    0.2920137718319893F,   0.3893125355243683F,
                              0.5016634166240692F,    0.6427869200706482F,   0.8614784181118011F};
  for (size_t i = 0; i < std::size(thresholds); ++i) {
    const float above = std::nextafter(thresholds[i], 2.0F);
    const Tensor back =
        dequantize(quantize(one_row({1.0F, thresholds[i], above}), BlockFormat::kNf4), at::kFloat);
    EXPECT_EQ(back[0][1].item<float>(), kNf4Levels[i]) << i;
    EXPECT_EQ(back[0][2].item<float>(), kNf4Levels[i + 1]) << i;
  }
}

TEST(BlockwiseQuantization, Int8TiesGoToTheEvenCode) {
  const QuantizedMatrix matrix = quantize(
      one_row({127.0F, 0.5F, 1.5F, 2.5F, -0.5F, -1.5F, 126.5F, 0.51F}), BlockFormat::kInt8);
  const int8_t expected[] = {127, 0, 2, 2, 0, -2, 126, 1};
  for (int64_t i = 0; i < 8; ++i) {
    EXPECT_EQ(matrix.codes[0][i].item<int8_t>(), expected[i]) << i;
  }
}

TEST(BlockwiseQuantization, ErrorIsAtMostHalfTheGapBetweenCodes) {
  for (const int64_t columns : {1, 63, 64, 65, 127, 128, 129, 576, 1000}) {
    const Tensor values = random_matrix(9, columns);
    for (const BlockFormat format : kFormats) {
      const QuantizedMatrix matrix = quantize(values, format);
      const Tensor error = (dequantize(matrix, at::kDouble) - values.to(at::kDouble)).abs();
      // The widest gap of nf4 lies between -1 and the next level.
      const double half_gap = format == BlockFormat::kInt8 ? 0.5 : (1.0 - 0.6961928009986877) / 2;
      const Tensor scales = matrix.scales_RB.to(at::kDouble)
                                .repeat_interleave(block_width(format), 1)
                                .slice(1, 0, columns);
      EXPECT_TRUE((error <= scales * half_gap * (1 + 1e-5)).all().item<bool>())
          << name_of(format) << " of " << columns;
    }
  }
}

TEST(BlockwiseQuantization, LargestMagnitudeOfABlockComesBackExactly) {
  const Tensor values = random_matrix(5, 192);
  const QuantizedMatrix matrix = quantize(values, BlockFormat::kNf4);
  const Tensor blocks = values.abs().view({5, 3, 64}).amax(2);
  EXPECT_TRUE(same_bits(matrix.scales_RB, blocks));
  EXPECT_TRUE(same_bits(dequantize(matrix, at::kFloat).abs().view({5, 3, 64}).amax(2), blocks));
}

TEST(BlockwiseQuantization, ZerosStayZero) {
  Tensor values = random_matrix(3, 200);
  values.slice(1, 64, 128).zero_();
  values[1].zero_();
  for (const BlockFormat format : kFormats) {
    const Tensor back = dequantize(quantize(values, format), at::kFloat);
    EXPECT_TRUE(at::equal(back.eq(0).logical_or(values.ne(0)), at::ones_like(back, at::kBool)))
        << name_of(format);
  }
}

TEST(BlockwiseQuantization, NumbersNearTheEndsOfTheRangeStayFinite) {
  for (const float size : {std::numeric_limits<float>::denorm_min(),
                           std::numeric_limits<float>::min(), 1e-40F, 3e38F}) {
    for (const BlockFormat format : kFormats) {
      const Tensor back =
          dequantize(quantize(one_row({size, -size, size / 2, 0.0F}), format), at::kFloat);
      EXPECT_TRUE(back.isfinite().all().item<bool>()) << size << " " << name_of(format);
      EXPECT_LE((back[0][0] - size).abs().item<double>(), static_cast<double>(size)) << size;
    }
  }
}

TEST(BlockwiseQuantization, ABlockOfOneValueKeepsIt) {
  for (const BlockFormat format : kFormats) {
    for (const int64_t columns :
         {int64_t{1}, block_width(format) + 1, 2 * block_width(format) + 1}) {
      const Tensor values = random_matrix(4, columns).select(1, columns - 1);
      const Tensor back = dequantize(quantize(random_matrix(4, columns), format), at::kFloat)
                              .select(1, columns - 1);
      // A scale of int8 is rounded.
      const double tolerance = format == BlockFormat::kNf4 ? 0.0 : 1.2e-7;
      EXPECT_TRUE(at::allclose(back, values, tolerance, 0.0)) << columns;
    }
  }
}

TEST(BlockwiseQuantization, ValuesAreQuantizedAsStoredWhateverTheirType) {
  for (const at::ScalarType stored : {at::kBFloat16, at::kHalf, at::kDouble}) {
    const Tensor values = random_matrix(6, 150).to(stored);
    for (const BlockFormat format : kFormats) {
      const QuantizedMatrix a = quantize(values, format);
      const QuantizedMatrix b = quantize(values.to(at::kFloat), format);
      EXPECT_TRUE(same_bits(a.codes, b.codes)) << at::toString(stored) << " " << name_of(format);
      EXPECT_TRUE(same_bits(a.scales_RB, b.scales_RB)) << at::toString(stored);
    }
  }
}

TEST(BlockwiseQuantization, OtherTypesGetTheFp32ValuesRounded) {
  const Tensor values = random_matrix(6, 300);
  for (const BlockFormat format : kFormats) {
    const QuantizedMatrix matrix = quantize(values, format);
    const Tensor single = dequantize(matrix, at::kFloat);
    for (const at::ScalarType type : kTypes) {
      EXPECT_TRUE(same_bits(dequantize(matrix, type), single.to(type)))
          << name_of(format) << " to " << at::toString(type);
    }
  }
}

TEST(BlockwiseQuantization, SlicesOfColumnsAreThoseOfTheWholeWhereverTheCutLies) {
  const Tensor values = random_matrix(3, 300);
  for (const BlockFormat format : kFormats) {
    const Tensor whole = dequantize(quantize(values, format), at::kFloat);
    for (const int64_t begin : {0, 1, 50, 63, 64, 65, 100, 127, 128, 200, 299}) {
      for (const int64_t length : {1, 2, 27, 64, 100, 200, 300}) {
        if (begin + length > 300) continue;
        const QuantizedMatrix slice = testing::quantized_slice(values, format, {begin, length});
        EXPECT_TRUE(same_bits(dequantize(slice, at::kFloat), whole.slice(1, begin, begin + length)))
            << name_of(format) << ", " << length << " from " << begin;
      }
    }
  }
}

// Parts as they are taken in tiles: some rows, all columns from a block's edge on.
std::vector<MatrixPart> parts_of(const QuantizedMatrix& matrix) {
  const int64_t rows = matrix.num_rows();
  const int64_t columns = matrix.columns.length;
  std::vector<MatrixPart> parts = {
      {0, rows, 0, columns}, {1, 2, 0, columns}, {rows, 0, 0, columns}, {0, rows, 0, 1}};
  const int64_t width = block_width(matrix.format);
  for (int64_t column = width - matrix.offset(); column < columns; column += width) {
    parts.push_back({1, 3, column, std::min(width, columns - column)});
    parts.push_back({0, rows, column, columns - column});
  }
  return parts;
}

TEST(BlockwiseQuantization, PartsAreThoseOfTheWhole) {
  const Tensor values = random_matrix(5, 1500);
  for (const BlockFormat format : kFormats) {
    for (const ColumnRange columns : {ColumnRange{0, 1500}, ColumnRange{37, 1401}}) {
      const QuantizedMatrix matrix = testing::quantized_slice(values, format, columns);
      const Tensor whole = dequantize(matrix, at::kFloat);
      for (const MatrixPart& part : parts_of(matrix)) {
        const Tensor out = at::full({part.num_rows, part.num_columns}, 99.0, at::kFloat);
        dequantize(matrix, part, out);
        EXPECT_TRUE(same_bits(
            out, whole.narrow(0, part.row, part.num_rows).narrow(1, part.column, part.num_columns)))
            << name_of(format) << ": " << part.num_rows << " by " << part.num_columns << " from "
            << part.row << ", " << part.column;
      }
    }
  }
}

TEST(BlockwiseQuantization, OperatorsGiveTheSameBits) {
  const Tensor values = random_matrix(5, 333);
  for (const BlockFormat format : kFormats) {
    for (const ColumnRange columns : {ColumnRange{0, 333}, ColumnRange{37, 281}}) {
      const QuantizedMatrix matrix = testing::quantized_slice(values, format, columns);
      for (const MatrixPart& part : parts_of(matrix)) {
        for (const at::ScalarType type : kTypes) {
          const Tensor a = at::empty({part.num_rows, part.num_columns}, type);
          const Tensor b = at::empty({part.num_rows, part.num_columns}, type);
          dequantize(matrix, part, a);
          dequantize_by_operators(matrix, part, b);
          EXPECT_TRUE(at::equal(a, b)) << name_of(format) << " " << at::toString(type);
        }
      }
    }
  }
}

TEST(BlockwiseQuantization, ThreadsDoNotChangeTheBits) {
  const Tensor values = random_matrix(700, 500);
  const int threads = at::get_num_threads();
  for (const BlockFormat format : kFormats) {
    at::set_num_threads(1);
    const QuantizedMatrix one = quantize(values, format);
    const Tensor back = dequantize(one, at::kBFloat16);
    at::set_num_threads(4);
    const QuantizedMatrix four = quantize(values, format);
    EXPECT_TRUE(same_bits(one.codes, four.codes));
    EXPECT_TRUE(same_bits(one.scales_RB, four.scales_RB));
    EXPECT_TRUE(same_bits(dequantize(four, at::kBFloat16), back));
  }
  at::set_num_threads(threads);
}

TEST(BlockwiseQuantization, BytesAreThoseOfTheFormula) {
  EXPECT_EQ(empty_quantized(BlockFormat::kInt8, 10, {0, 576}).bytes(), 10 * (576 + 5 * 4));
  EXPECT_EQ(empty_quantized(BlockFormat::kNf4, 10, {0, 576}).bytes(), 10 * (288 + 9 * 4));
  // 25 columns from an odd one on, of two blocks.
  EXPECT_EQ(empty_quantized(BlockFormat::kNf4, 10, {51, 25}).bytes(), 10 * (13 + 2 * 4));
  EXPECT_EQ(empty_quantized(BlockFormat::kInt8, 10, {51, 25}).bytes(), 10 * (25 + 4));
}

TEST(BlockwiseQuantization, FirstValueThatIsNotFiniteIsNamed) {
  for (const double bad : {std::nan(""), -std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    for (const BlockFormat format : kFormats) {
      Tensor values = random_matrix(5, 200);
      values[3][170] = bad;
      values[4][2] = bad;
      const QuantizedMatrix matrix = empty_quantized(format, 5, {0, 200});
      const std::optional<MatrixPlace> place = quantize_rows(values, matrix, 0);
      ASSERT_TRUE(place.has_value());
      EXPECT_EQ(place->row, 3);
      EXPECT_EQ(place->column, 170);
      EXPECT_THROW_WITH(quantize(values, format), InternalError, "row 3, column 170");
    }
  }
}

TEST(BlockwiseQuantization, PartsWithinABlockAndOfOtherShapesAreRefused) {
  const QuantizedMatrix matrix = quantize(random_matrix(4, 200), BlockFormat::kNf4);
  const Tensor out = at::empty({4, 100});
  EXPECT_THROW_WITH(dequantize(matrix, {0, 4, 32, 100}, out), InternalError, "within a block");
  EXPECT_THROW_WITH(dequantize(matrix, {0, 5, 0, 100}, out), InternalError, "rows 5 from 0 of 4");
  EXPECT_THROW_WITH(dequantize(matrix, {0, 4, 128, 100}, out), InternalError,
                    "columns 100 from 128 of 200");
  EXPECT_THROW_WITH(dequantize(matrix, {0, 3, 0, 100}, out), InternalError,
                    "a result of 400 elements for 3 by 100");
  EXPECT_THROW_WITH(dequantize(matrix, at::kHalf), InternalError, "Half");
}

TEST(BlockwiseQuantization, ValuesThatAreNotTheWholeBlocksAreRefused) {
  const QuantizedMatrix slice = empty_quantized(BlockFormat::kNf4, 4, {70, 20});
  EXPECT_THROW_WITH((void)quantize_rows(random_matrix(4, 20), slice, 0), InternalError,
                    "20 values of whole blocks for columns 20 from 70");
  EXPECT_THROW_WITH((void)quantize_rows(random_matrix(4, 64), slice, 1), InternalError,
                    "rows 4 from 1 of 4");
  EXPECT_THROW_WITH((void)whole_blocks(BlockFormat::kNf4, {70, 20}, 80), InternalError,
                    "columns 20 from 70 of 80");
}

}  // namespace
}  // namespace molora
