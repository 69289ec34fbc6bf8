// Products with a quantised weight against those with the same weight expanded.
#include "model/quantized_product.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "model/input_products.h"
#include "support/expect_throw.h"
#include "support/quantized_slice.h"

namespace molora {
namespace {

constexpr double kTolerance = 1e-12;
constexpr BlockFormat kFormats[] = {BlockFormat::kInt8, BlockFormat::kNf4};

struct Shape2 {
  int64_t tokens;
  int64_t out;
  int64_t in;
};

// Of one tile and of several, with a last one that is short; without tokens.
constexpr Shape2 kShapes[] = {{5, 7, 12},     {3, 130, 129},  {2, 1100, 700},
                              {2, 700, 1900}, {1, 4000, 200}, {0, 9, 20}};

class QuantizedProduct : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(5); }
};

bool are_near(const Tensor& a, const Tensor& b) {
  return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() &&
         at::allclose(a, b, kTolerance, kTolerance);
}

TEST_F(QuantizedProduct, IsThatOfTheExpandedWeight) {
  for (const BlockFormat format : kFormats) {
    for (const Shape2& shape : kShapes) {
      const QuantizedMatrix matrix = quantize(at::randn({shape.out, shape.in}), format);
      const Tensor weight = dequantize(matrix, at::kDouble);
      const Tensor x = at::randn({shape.tokens, shape.in}, at::kDouble);
      const Tensor bias = at::randn({shape.out}, at::kDouble);
      EXPECT_TRUE(are_near(quantized_product(x, matrix, {}), at::linear(x, weight)))
          << shape.out << " by " << shape.in;
      EXPECT_TRUE(are_near(quantized_product(x, matrix, bias), at::linear(x, weight, bias)))
          << shape.out << " by " << shape.in;
    }
  }
}

TEST_F(QuantizedProduct, InputGradientIsThatOfTheExpandedWeight) {
  for (const BlockFormat format : kFormats) {
    for (const Shape2& shape : kShapes) {
      const QuantizedMatrix matrix = quantize(at::randn({shape.out, shape.in}), format);
      const Tensor weight = dequantize(matrix, at::kDouble);
      const Tensor d_out = at::randn({shape.tokens, shape.out}, at::kDouble);
      Tensor d_x;
      add_quantized_input_gradient(d_x, d_out, matrix);
      const Tensor once = at::mm(d_out, weight);
      EXPECT_TRUE(are_near(d_x, once)) << shape.out << " by " << shape.in;
      add_quantized_input_gradient(d_x, d_out, matrix);
      EXPECT_TRUE(are_near(d_x, 2 * once)) << shape.out << " by " << shape.in;
    }
  }
}

TEST_F(QuantizedProduct, OfASliceThatBeginsWithinABlock) {
  const Tensor whole = at::randn({600, 2000});
  for (const BlockFormat format : kFormats) {
    for (const ColumnRange& columns : {ColumnRange{37, 1801}, ColumnRange{100, 27}}) {
      const QuantizedMatrix slice = testing::quantized_slice(whole, format, columns);
      const Tensor weight =
          dequantize(quantize(whole, format), at::kDouble).slice(1, columns.begin, columns.end());
      const Tensor x = at::randn({3, columns.length}, at::kDouble);
      const Tensor d_out = at::randn({3, 600}, at::kDouble);
      Tensor d_x;
      add_quantized_input_gradient(d_x, d_out, slice);
      EXPECT_TRUE(are_near(quantized_product(x, slice, {}), at::linear(x, weight)));
      EXPECT_TRUE(are_near(d_x, at::mm(d_out, weight)));
    }
  }
}

// Summed in one product and rounded once: tiles cost no precision.
TEST_F(QuantizedProduct, TypesOfTheProgramRoundAsAPlainWeightDoes) {
  for (const at::ScalarType type : {at::kBFloat16, at::kFloat}) {
    const double unit = type == at::kFloat ? 6e-8 : 4e-3;
    for (const BlockFormat format : kFormats) {
      const QuantizedMatrix matrix = quantize(at::randn({700, 1900}), format);
      const Tensor weight = dequantize(matrix, type);
      const Tensor x = at::randn({9, 1900}).to(type);
      const Tensor d_out = at::randn({9, 700}).to(type);
      Tensor d_x;
      add_quantized_input_gradient(d_x, d_out, matrix);
      const Tensor wide = weight.to(at::kDouble);
      const auto error = [](const Tensor& got, const Tensor& exact) {
        return ((got.to(at::kDouble) - exact).abs().max() / exact.abs().max()).item<double>();
      };
      const double most = type == at::kFloat ? 50 * unit : unit;
      EXPECT_LT(error(quantized_product(x, matrix, {}), at::linear(x.to(at::kDouble), wide)), most);
      EXPECT_LT(error(d_x, at::mm(d_out.to(at::kDouble), wide)), most);
    }
  }
}

TEST_F(QuantizedProduct, ServesAsAFrozenLinearUnderAutograd) {
  for (const BlockFormat format : kFormats) {
    const QuantizedMatrix matrix = quantize(at::randn({30, 200}), format);
    const Tensor bias = at::randn({30}, at::kDouble);
    const Tensor weight = dequantize(matrix, at::kDouble);
    const Tensor x = at::randn({4, 200}, at::kDouble).set_requires_grad(true);
    const Tensor factor = at::randn({4, 30}, at::kDouble);
    const Tensor got = input_products(x, {{{}, bias, matrix}}, {}).frozen_TO[0];
    EXPECT_TRUE(are_near(got, at::linear(x, weight, bias)));
    (got * factor).sum().backward();
    EXPECT_TRUE(are_near(x.grad(), at::mm(factor, weight)));
  }
}

TEST_F(QuantizedProduct, OtherWidthsAreRefused) {
  const QuantizedMatrix matrix = quantize(at::randn({30, 200}), BlockFormat::kInt8);
  EXPECT_THROW_WITH((void)quantized_product(at::randn({4, 30}), matrix, {}), InternalError,
                    "input width");
  Tensor d_x;
  EXPECT_THROW_WITH(add_quantized_input_gradient(d_x, at::randn({4, 200}), matrix), InternalError,
                    "output width");
}

}  // namespace
}  // namespace molora
