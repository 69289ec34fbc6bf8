// The router's kernels against sorting and softmax as a book has them.
#include "kernels/bodies/router_body.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "cuda/emulator/body_numbers.h"
#include "cuda/emulator/run_body.h"
#include "kernels/bodies/router_statistics_body.h"

namespace molora::testing {
namespace {

struct Shape {
  int64_t tokens;
  int experts;
  int k;
};
constexpr Shape kShapes[] = {{0, 4, 2},  {1, 1, 1},  {1, 8, 2},  {15, 8, 3},  {17, 8, 8},
                             {33, 3, 2}, {5, 32, 4}, {7, 33, 5}, {3, 100, 7}, {129, 2, 1}};

template <typename Number>
std::vector<int64_t> sorted_choice(const std::vector<Number>& logits, const Shape& shape) {
  std::vector<int64_t> chosen;
  for (int64_t t = 0; t < shape.tokens; ++t) {
    const Number* logit = logits.data() + t * shape.experts;
    std::vector<int64_t> order(static_cast<size_t>(shape.experts));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [logit](int64_t a, int64_t b) {
      if (std::isnan(logit[a]) || std::isnan(logit[b]))
        return !std::isnan(logit[b]) < std::isnan(logit[a]);
      return logit[a] > logit[b];
    });
    chosen.insert(chosen.end(), order.begin(), order.begin() + shape.k);
  }
  return chosen;
}

template <typename Number>
std::vector<int64_t> choose(const std::vector<Number>& logits, const Shape& shape) {
  using Body = ChooseExperts<Number>;
  const auto groups = RowGroups<Body::kThreads>::for_columns(shape.experts, kWarpLanes);
  const std::tuple outputs(std::vector<int64_t>(static_cast<size_t>(shape.tokens * shape.k), -7));
  return std::get<0>(run_in_every_order(outputs, [&](auto& out, uint64_t order) {
    run_body(
        Body{logits.data(), std::get<0>(out).data(), shape.tokens, shape.experts, shape.k, groups},
        order);
  }));
}

template <typename Number>
class RouterBody : public ::testing::Test {};
using WideNumbers = ::testing::Types<float, double>;
TYPED_TEST_SUITE(RouterBody, WideNumbers);

// The logits have 32 values: many tokens have ties.
TYPED_TEST(RouterBody, ChoosesWhatAStableSortPutsFirst) {
  for (const Shape& shape : kShapes) {
    const auto logits = some_numbers<TypeParam>(shape.tokens * shape.experts, 3, 1.0 / 8);
    EXPECT_EQ(choose(logits, shape), sorted_choice(logits, shape)) << shape.experts;
  }
}

TYPED_TEST(RouterBody, EqualLogitsGoToTheLowerIndex) {
  const std::vector<TypeParam> logits(40, TypeParam{0.5});
  EXPECT_EQ(choose(logits, {1, 40, 4}), (std::vector<int64_t>{0, 1, 2, 3}));
}

TYPED_TEST(RouterBody, SignedZerosAreEqual) {
  const std::vector<TypeParam> logits = {TypeParam{-0.0}, TypeParam{0.0}, TypeParam{-1}};
  EXPECT_EQ(choose(logits, {1, 3, 3}), (std::vector<int64_t>{0, 1, 2}));
}

TYPED_TEST(RouterBody, WhatIsNoNumberComesFirst) {
  const TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN();
  const TypeParam inf = std::numeric_limits<TypeParam>::infinity();
  const std::vector<TypeParam> logits = {1, nan, inf, -inf, -nan, 2};
  EXPECT_EQ(choose(logits, {1, 6, 6}), (std::vector<int64_t>{1, 4, 2, 5, 0, 3}));
}

// Weights by the definitions; p is the softmax that they come from.
struct Expected {
  std::vector<double> weights;
  std::vector<double> p;
};
Expected expected_weights(const std::vector<double>& logits, const std::vector<int64_t>& chosen,
                          const Shape& shape, RouterGate gate) {
  Expected expected;
  for (int64_t t = 0; t < shape.tokens; ++t) {
    const double* logit = logits.data() + t * shape.experts;
    const auto* choice = chosen.data() + t * shape.k;
    const auto is_chosen = [&](int e) {
      return std::find(choice, choice + shape.k, e) != choice + shape.k;
    };
    double sum = 0;
    for (int e = 0; e < shape.experts; ++e) {
      if (gate != RouterGate::kTopkSoftmax || is_chosen(e)) sum += std::exp(logit[e]);
    }
    for (int e = 0; e < shape.experts; ++e) {
      const bool in_sum = gate != RouterGate::kTopkSoftmax || is_chosen(e);
      const double p = in_sum ? std::exp(logit[e]) / sum : 0.0;
      expected.p.push_back(p);
      expected.weights.push_back(gate == RouterGate::kDenseSoftmax || is_chosen(e) ? p : 0.0);
    }
  }
  return expected;
}

constexpr RouterGate kGates[] = {RouterGate::kTopkSoftmax, RouterGate::kSoftmaxTopk,
                                 RouterGate::kDenseSoftmax};

template <typename Number>
std::vector<Number> weigh(const std::vector<Number>& logits, const std::vector<int64_t>& chosen,
                          const Shape& shape, RouterGate gate) {
  using Body = GateWeights<Number>;
  const auto groups = RowGroups<Body::kThreads>::for_columns(shape.experts, kWarpLanes);
  const std::tuple outputs(std::vector<Number>(logits.size(), Number{99}));
  return std::get<0>(run_in_every_order(outputs, [&](auto& out, uint64_t order) {
    run_body(Body{logits.data(), chosen.data(), std::get<0>(out).data(), shape.tokens,
                  shape.experts, shape.k, gate, groups},
             order);
  }));
}

TYPED_TEST(RouterBody, WeightsAreTheGates) {
  for (const RouterGate gate : kGates) {
    for (const Shape& shape : kShapes) {
      const auto logits = some_numbers<TypeParam>(shape.tokens * shape.experts, 4);
      const auto chosen = sorted_choice(logits, shape);
      expect_near(weigh(logits, chosen, shape, gate),
                  expected_weights(as_doubles(logits), chosen, shape, gate).weights);
    }
  }
}

TYPED_TEST(RouterBody, LargeLogitsDoNotOverflow) {
  const std::vector<TypeParam> logits = {500, 499, -500};
  const double e = std::exp(-1.0);
  expect_near(weigh(logits, {0, 1}, {1, 3, 2}, RouterGate::kTopkSoftmax),
              {1 / (1 + e), e / (1 + e), 0});
}

TYPED_TEST(RouterBody, ARecordedChoiceNeedNotBeTheLargest) {
  const std::vector<TypeParam> logits = {1, 1, 3, 1};
  expect_near(weigh(logits, {3, 0}, {1, 4, 2}, RouterGate::kTopkSoftmax), {0.5, 0, 0, 0.5});
}

TYPED_TEST(RouterBody, WeightsOfWhatIsNoNumberAreNone) {
  const TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN();
  const std::vector<TypeParam> logits = {1, nan, 2};
  for (const RouterGate gate : {RouterGate::kTopkSoftmax, RouterGate::kSoftmaxTopk}) {
    const double none = std::nan("");
    expect_near(weigh(logits, {1, 2}, {1, 3, 2}, gate), {0, none, none});
  }
}

TYPED_TEST(RouterBody, TheGradientIsThatOfTheSoftmax) {
  using Body = GateWeightsBackward<TypeParam>;
  for (const RouterGate gate : kGates) {
    for (const Shape& shape : kShapes) {
      const auto logits = some_numbers<TypeParam>(shape.tokens * shape.experts, 5);
      const auto gradient = some_numbers<TypeParam>(shape.tokens * shape.experts, 6);
      const auto chosen = sorted_choice(logits, shape);
      const auto weights = weigh(logits, chosen, shape, gate);
      const Expected forward = expected_weights(as_doubles(logits), chosen, shape, gate);
      std::vector<double> expected;
      for (int64_t t = 0; t < shape.tokens; ++t) {
        double mean = 0;
        for (int e = 0; e < shape.experts; ++e) {
          const auto at = static_cast<size_t>(t * shape.experts + e);
          mean += forward.weights[at] * static_cast<double>(gradient[at]);
        }
        for (int e = 0; e < shape.experts; ++e) {
          const auto at = static_cast<size_t>(t * shape.experts + e);
          const double reached = forward.weights[at] == 0 ? 0 : static_cast<double>(gradient[at]);
          expected.push_back(forward.p[at] * (reached - mean));
        }
      }
      const auto groups = RowGroups<Body::kThreads>::for_columns(shape.experts, kWarpLanes);
      const std::tuple outputs(std::vector<TypeParam>(logits.size(), TypeParam{99}));
      const auto result = run_in_every_order(outputs, [&](auto& out, uint64_t order) {
        run_body(Body{logits.data(), weights.data(), gradient.data(), std::get<0>(out).data(),
                      shape.tokens, shape.experts, gate, groups},
                 order);
      });
      expect_near(std::get<0>(result), expected);
    }
  }
}

struct Totals {
  std::vector<int64_t> counts;
  std::vector<double> shares;
  std::vector<double> z;
};
template <typename Number>
Totals statistics_of(const std::vector<Number>& logits, const std::vector<int64_t>& chosen,
                     const Shape& shape) {
  const int64_t chunks = num_statistics_chunks(shape.tokens);
  const auto experts = static_cast<size_t>(shape.experts);
  std::vector<double> sums(static_cast<size_t>(chunks) * (experts + 1), std::nan(""));
  std::vector<int64_t> counts(static_cast<size_t>(chunks) * experts, -1);
  // What is there already is added to.
  const std::tuple outputs(std::vector<int64_t>(experts, 10), std::vector<double>(experts, 20.0),
                           std::vector<double>(1, 30.0));
  const auto [c, s, z] = run_in_every_order(outputs, [&](auto& out, uint64_t order) {
    run_body(SumTokensOfChunk<Number>{logits.data(), chosen.data(), sums.data(), counts.data(),
                                      shape.tokens, shape.experts, shape.k},
             order);
    run_body(AddChunks{sums.data(), counts.data(), std::get<0>(out).data(), std::get<1>(out).data(),
                       std::get<2>(out).data(), chunks, shape.experts},
             order);
  });
  return {c, s, z};
}

TYPED_TEST(RouterBody, StatisticsAreAddedToWhatIsThere) {
  for (const Shape& shape : {Shape{0, 4, 2}, Shape{1, 1, 1}, Shape{129, 3, 2}, Shape{5, 130, 3},
                             Shape{4500, 2, 1}, Shape{9, 3, 3}}) {
    const auto logits = some_numbers<TypeParam>(shape.tokens * shape.experts, 8);
    const auto chosen = sorted_choice(logits, shape);
    Totals expected = {std::vector<int64_t>(static_cast<size_t>(shape.experts), 10),
                       std::vector<double>(static_cast<size_t>(shape.experts), 20.0),
                       {30.0}};
    const auto dense =
        expected_weights(as_doubles(logits), chosen, shape, RouterGate::kDenseSoftmax).p;
    for (int64_t t = 0; t < shape.tokens; ++t) {
      double sum = 0;
      for (int e = 0; e < shape.experts; ++e) {
        const auto at = static_cast<size_t>(t * shape.experts + e);
        sum += std::exp(static_cast<double>(logits[at]));
        expected.shares[static_cast<size_t>(e)] += dense[at];
      }
      expected.z[0] += std::log(sum) * std::log(sum);
      for (int k = 0; k < shape.k; ++k) {
        ++expected.counts[static_cast<size_t>(chosen[static_cast<size_t>(t * shape.k + k)])];
      }
    }
    const Totals totals = statistics_of(logits, chosen, shape);
    EXPECT_EQ(totals.counts, expected.counts);
    expect_near(totals.shares, expected.shares, 1e-12);
    expect_near(totals.z, expected.z, 1e-12);
  }
}

}  // namespace
}  // namespace molora::testing
