// RMS norm and rotary embedding, as kernels.
#include <cmath>

#include "cuda/emulator/body_numbers.h"
#include "cuda/emulator/run_body.h"
#include "kernels/bodies/rms_norm_body.h"
#include "kernels/bodies/rotary_body.h"

namespace molora::testing {
namespace {

template <typename Number>
class DecoderBody : public ::testing::Test {};
using Numbers = ::testing::Types<float, BFloat16, double>;
TYPED_TEST_SUITE(DecoderBody, Numbers);

constexpr double kEps = 1e-5;

template <typename Number, int kLanes>
void expect_normed(int64_t rows, int64_t columns) {
  using Body = RmsNorm<Number, kLanes>;
  const auto x = some_numbers<Number>(rows * columns, 1);
  const auto weight = some_numbers<Number>(columns, 2);
  const std::tuple outputs(std::vector<Number>(x.size()),
                           std::vector<Wide<Number>>(static_cast<size_t>(rows)));
  const auto [y, scales] = run_in_every_order(outputs, [&](auto& out, uint64_t order) {
    run_body(Body{x.data(), weight.data(), std::get<0>(out).data(), std::get<1>(out).data(), rows,
                  columns, static_cast<Wide<Number>>(kEps)},
             order);
  });
  std::vector<double> expected;
  std::vector<double> expected_scales;
  for (int64_t row = 0; row < rows; ++row) {
    double squares = 0;
    for (int64_t i = 0; i < columns; ++i)
      squares += std::pow(to_wide(x[static_cast<size_t>(row * columns + i)]), 2.0);
    expected_scales.push_back(1 / std::sqrt(squares / static_cast<double>(columns) + kEps));
    for (int64_t i = 0; i < columns; ++i) {
      expected.push_back(static_cast<double>(to_wide(weight[static_cast<size_t>(i)])) *
                         static_cast<double>(to_wide(x[static_cast<size_t>(row * columns + i)])) *
                         expected_scales.back());
    }
  }
  expect_near(y, expected);
  if (columns > 0) expect_near(scales, expected_scales, rounding<Wide<Number>>());
}

TYPED_TEST(DecoderBody, ANormDividesByTheRootMeanSquare) {
  for (const auto& [rows, columns] :
       {std::pair<int64_t, int64_t>{0, 5}, {3, 0}, {1, 1}, {7, 31}, {9, 33}, {17, 64}, {2, 257}}) {
    expect_normed<TypeParam, 32>(rows, columns);
  }
  for (const auto& [rows, columns] :
       {std::pair<int64_t, int64_t>{1, 1}, {2, 255}, {3, 257}, {1, 1031}}) {
    expect_normed<TypeParam, 256>(rows, columns);
  }
}

template <typename Number, int kLanes>
void expect_norm_gradient(int64_t rows, int64_t columns) {
  using Body = RmsNormBackward<Number, kLanes>;
  const auto x = some_numbers<Number>(rows * columns, 1);
  const auto weight = some_numbers<Number>(columns, 2);
  const auto d_y = some_numbers<Number>(rows * columns, 3);
  std::vector<Wide<Number>> scales;
  std::vector<double> expected;
  for (int64_t row = 0; row < rows; ++row) {
    const auto at = [&](const std::vector<Number>& of, int64_t i) {
      return static_cast<double>(to_wide(of[static_cast<size_t>(row * columns + i)]));
    };
    const auto g = [&](int64_t i) {
      return at(d_y, i) * static_cast<double>(to_wide(weight[static_cast<size_t>(i)]));
    };
    double squares = 0;
    double products = 0;
    for (int64_t i = 0; i < columns; ++i) squares += at(x, i) * at(x, i);
    for (int64_t i = 0; i < columns; ++i) products += g(i) * at(x, i);
    const double scale = 1 / std::sqrt(squares / static_cast<double>(columns) + kEps);
    scales.push_back(static_cast<Wide<Number>>(scale));
    for (int64_t i = 0; i < columns; ++i) {
      expected.push_back(scale * g(i) -
                         std::pow(scale, 3) * at(x, i) * products / static_cast<double>(columns));
    }
  }
  const std::tuple outputs(std::vector<Number>(x.size()));
  const auto [d_x] = run_in_every_order(outputs, [&](auto& out, uint64_t order) {
    run_body(Body{x.data(), weight.data(), scales.data(), d_y.data(), std::get<0>(out).data(), rows,
                  columns},
             order);
  });
  // dy * weight is rounded before the sum.
  expect_near(d_x, expected, 2 * rounding<Number>());
}

TYPED_TEST(DecoderBody, TheGradientOfANormKeepsTheWeightFrozen) {
  for (const auto& [rows, columns] :
       {std::pair<int64_t, int64_t>{0, 5}, {3, 0}, {1, 1}, {7, 31}, {9, 33}, {2, 257}}) {
    expect_norm_gradient<TypeParam, 32>(rows, columns);
  }
  for (const auto& [rows, columns] :
       {std::pair<int64_t, int64_t>{1, 1}, {2, 255}, {3, 257}, {1, 1031}}) {
    expect_norm_gradient<TypeParam, 256>(rows, columns);
  }
}

struct Heads {
  int64_t tokens;
  int64_t heads;
  int64_t half_units;
};

template <typename Number>
Number product(Number a, Number b) {
  return round_to<Number>(to_wide(a) * to_wide(b));
}

// By the formulas of model/rope.cc, each operation rounded.
template <typename Number>
std::vector<Number> turned(const std::vector<Number>& x, const std::vector<Number>& cos,
                           const std::vector<Number>& sin, const Heads& shape, int64_t half,
                           RotaryTurn turn) {
  std::vector<Number> y;
  const double sign = turn == RotaryTurn::kForward ? 1.0 : -1.0;
  for (int64_t i = 0; i < static_cast<int64_t>(x.size()); ++i) {
    const int64_t column = i % (2 * half);
    const bool is_low = column < half;
    const int64_t other = i + (is_low ? half : -half);
    const int64_t row = i / (2 * half) / shape.heads * 2 * half;
    const auto at = [](const std::vector<Number>& of, int64_t k) {
      return of[static_cast<size_t>(k)];
    };
    const int64_t sin_column = turn == RotaryTurn::kForward ? column : other % (2 * half);
    const auto kept = to_wide(product(at(x, i), at(cos, row + column)));
    const auto gained = to_wide(product(at(x, other), at(sin, row + sin_column)));
    y.push_back(round_to<Number>(kept + static_cast<Wide<Number>>(is_low ? -sign : sign) * gained));
  }
  return y;
}

template <typename Number, int kPack>
void expect_turned(const Heads& shape, RotaryTurn turn) {
  using Body = ApplyRotary<Number, kPack>;
  using Unit = typename Body::Unit;
  const int64_t half = shape.half_units * kPack;
  const auto x = some_numbers<Number>(shape.tokens * shape.heads * 2 * half, 1);
  const auto cos = some_numbers<Number>(shape.tokens * 2 * half, 2);
  const auto sin = some_numbers<Number>(shape.tokens * 2 * half, 3);
  const auto packed = [](const std::vector<Number>& numbers) {
    std::vector<Unit> units(numbers.size() / kPack);
    for (size_t i = 0; i < numbers.size(); ++i) units[i / kPack].values[i % kPack] = numbers[i];
    return units;
  };
  const auto x_units = packed(x);
  const auto cos_units = packed(cos);
  const auto sin_units = packed(sin);
  const auto groups = RowGroups<Body::kThreads>::for_columns(shape.half_units);
  const std::tuple outputs(std::vector<Unit>(x_units.size()));
  const auto [y] = run_in_every_order(outputs, [&](auto& out, uint64_t order) {
    run_body(Body{x_units.data(), cos_units.data(), sin_units.data(), std::get<0>(out).data(),
                  shape.tokens * shape.heads, shape.heads, shape.half_units, turn, groups},
             order);
  });
  EXPECT_TRUE(same_bytes(y, packed(turned(x, cos, sin, shape, half, turn))))
      << shape.tokens << " " << half;
}

TYPED_TEST(DecoderBody, HalvesOfAHeadTurnIntoEachOther) {
  for (const RotaryTurn turn : {RotaryTurn::kForward, RotaryTurn::kBackward}) {
    for (const Heads& shape : {Heads{0, 2, 4}, Heads{2, 3, 0}, Heads{1, 1, 1}, Heads{5, 3, 8},
                               Heads{7, 2, 33}, Heads{3, 9, 257}}) {
      expect_turned<TypeParam, 1>(shape, turn);
      expect_turned<TypeParam, kWidestPack<TypeParam>>(shape, turn);
    }
  }
}

}  // namespace
}  // namespace molora::testing
