// The AdamW kernel against the formula, run by run.
#include "kernels/bodies/adamw_body.h"

#include <cmath>
#include <memory>

#include "cuda/emulator/body_numbers.h"
#include "cuda/emulator/run_body.h"

namespace molora::testing {
namespace {

template <typename Number>
class AdamWBody : public ::testing::Test {};
using WideNumbers = ::testing::Types<float, double>;
TYPED_TEST_SUITE(AdamWBody, WideNumbers);

template <typename Number>
AdamWRates<Number> rates_of_update(int update, double beta1) {
  const double beta2 = 0.95;
  return {static_cast<Number>(1 - 1e-2 * 0.1),
          static_cast<Number>(1 - beta1),
          static_cast<Number>(beta2),
          static_cast<Number>(1 - beta2),
          static_cast<Number>(std::sqrt(1 - std::pow(beta2, update))),
          static_cast<Number>(1e-8),
          static_cast<Number>(-1e-2 / (1 - std::pow(beta1, update))),
          static_cast<Number>(0.7)};
}

// Elements of all runs one after the other.
template <typename Number>
using State = std::tuple<std::vector<Number>, std::vector<Number>, std::vector<Number>>;

template <typename Number>
State<Number> update_runs(const State<Number>& state, const std::vector<Number>& gradient,
                          const std::vector<int64_t>& counts, const AdamWRates<Number>& rates) {
  return run_in_every_order(state, [&](auto& out, uint64_t order) {
    const auto body = std::make_unique<UpdateRuns<Number>>();
    body->rates = rates;
    int64_t at = 0;
    for (const int64_t count : counts) {
      body->add({std::get<0>(out).data() + at, std::get<1>(out).data() + at,
                 std::get<2>(out).data() + at, gradient.data() + at, count});
      at += count;
    }
    run_body(*body, order);
  });
}

TYPED_TEST(AdamWBody, EveryElementOfEveryRunIsUpdatedOnce) {
  using Number = TypeParam;
  const std::vector<int64_t> counts = {1, 2047, 2048, 2049, 5, 33, 1, 4096};
  int64_t total = 0;
  for (const int64_t count : counts) total += count;
  for (const double beta1 : {0.9, 0.3}) {
    State<Number> state(some_numbers<Number>(total, 1), some_numbers<Number>(total, 2),
                        some_numbers<Number>(total, 3));
    for (Number& second : std::get<2>(state)) second = std::abs(second);
    const auto gradient = some_numbers<Number>(total, 4);
    const auto rates = rates_of_update<Number>(3, beta1);
    std::vector<double> values;
    std::vector<double> firsts;
    std::vector<double> seconds;
    for (size_t i = 0; i < gradient.size(); ++i) {
      const double g = static_cast<double>(gradient[i]) * static_cast<double>(rates.gradient_scale);
      firsts.push_back(beta1 * static_cast<double>(std::get<1>(state)[i]) + (1 - beta1) * g);
      seconds.push_back(0.95 * static_cast<double>(std::get<2>(state)[i]) + 0.05 * g * g);
      const double step = 1e-2 / (1 - std::pow(beta1, 3)) * firsts.back() /
                          (std::sqrt(seconds.back() / (1 - std::pow(0.95, 3))) + 1e-8);
      values.push_back(static_cast<double>(std::get<0>(state)[i]) * (1 - 1e-3) - step);
    }
    const auto [value, first, second] = update_runs(state, gradient, counts, rates);
    expect_near(value, values);
    expect_near(first, firsts);
    expect_near(second, seconds);
  }
}

TYPED_TEST(AdamWBody, TakesRunsUntilItIsFull) {
  UpdateRuns<TypeParam> body = {};
  for (int i = 0; i < body.kMaxRuns; ++i) {
    EXPECT_TRUE(body.has_room(1));
    body.add({nullptr, nullptr, nullptr, nullptr, 1});
  }
  EXPECT_FALSE(body.has_room(1));
  EXPECT_EQ(body.num_blocks(), body.kMaxRuns);
}

TYPED_TEST(AdamWBody, HasNoRoomForMoreBlocksThanAGrid) {
  UpdateRuns<TypeParam> body = {};
  constexpr int64_t kMost = int64_t{INT32_MAX} * UpdateRuns<TypeParam>::kElementsPerBlock;
  EXPECT_TRUE(body.has_room(kMost));
  body.add({nullptr, nullptr, nullptr, nullptr, kMost});
  EXPECT_EQ(body.num_blocks(), INT32_MAX);
  EXPECT_FALSE(body.has_room(1));
}

TYPED_TEST(AdamWBody, NothingToUpdateIsNoWork) {
  const UpdateRuns<TypeParam> body = {};
  EXPECT_EQ(body.num_blocks(), 0);
}

TYPED_TEST(AdamWBody, FitsIntoTheArgumentsOfAKernel) {
  EXPECT_LE(sizeof(UpdateRuns<TypeParam>), 4096u);
}

}  // namespace
}  // namespace molora::testing
