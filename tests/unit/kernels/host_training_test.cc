// Updates and the gradient of logits by the loops of the CPU against the same by LibTorch's
// operators.
#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/adamw_step.h"
#include "kernels/cross_entropy.h"
#include "support/expect_throw.h"
#include "support/kernel_results.h"

namespace molora {
namespace {

using testing::by_host;
using testing::expect_close;
using testing::expect_same;
using testing::kNumberTypes;
using testing::numbers_of;
using testing::Results;

struct AdamWCase {
  std::vector<AdamWTensor> tensors;
  explicit AdamWCase(int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const at::ScalarType type = i % 3 == 2 ? at::kDouble : at::kFloat;
      const auto numbers = [&](uint64_t seed) {
        return numbers_of({i % 5, i == 4 ? 5000 : 2, 3}, type,
                          seed + 10 * static_cast<uint64_t>(i));
      };
      tensors.push_back({numbers(1), numbers(2), numbers(3).abs(), numbers(4)});
      if (i % 5 == 4) tensors.back().frozen_rows = {1, 3};
    }
  }
  Results all() const {
    Results all;
    for (const AdamWTensor& t : tensors) all.insert(all.end(), {t.value, t.first, t.second});
    return all;
  }
};

TEST(HostTraining, AdamWUpdatesAgree) {
  for (const double beta1 : {0.9, 0.4}) {
    for (const auto& [decay, scale] : {std::pair{0.0, 1.0}, {0.1, 0.37}}) {
      const auto update = [&, decay_ = decay, scale_ = scale] {
        const AdamWCase given(20);
        for (int64_t t = 1; t <= 3; ++t)
          adamw_step(given.tensors, {1e-2, beta1, 0.95, 1e-8, decay_, t, scale_});
        return given.all();
      };
      expect_close(by_host(update), update());
    }
  }
}

TEST(HostTraining, FrozenRowsKeepTheirBits) {
  (void)by_host([] {
    const AdamWCase given(5);
    const AdamWTensor& frozen = given.tensors[4];
    const Tensor rows = at::tensor({1, 3}, at::kLong);
    Results before;
    for (const Tensor& of : given.all()) before.push_back(of.clone());
    adamw_step(given.tensors, {1e-2, 0.9, 0.95, 1e-8, 0.1, 1});
    EXPECT_TRUE(frozen.value.index_select(0, rows).equal(before[12].index_select(0, rows)));
    EXPECT_TRUE(frozen.first.index_select(0, rows).equal(before[13].index_select(0, rows)));
    EXPECT_TRUE(frozen.second.index_select(0, rows).equal(before[14].index_select(0, rows)));
    EXPECT_FALSE(frozen.value.select(0, 2).equal(before[12].select(0, 2)));
    return Results{};
  });
}

TEST(HostTraining, SumsOfLogitsAndTheirGradientAgree) {
  for (const at::ScalarType type : kNumberTypes) {
    for (const int64_t width : {1, 15, 16, 17, 2047, 2048, 2049, 5003}) {
      const Tensor logits = numbers_of({9, width}, type, 1) * 8;
      const Tensor column = at::arange(-1, 8, at::kLong).remainder(width + 1).unsqueeze(1) - 1;
      const auto sums = [&] {
        const auto [largest, sum, target] = sum_logits(logits, column);
        return Results{largest, sum, target};
      };
      const Results fused = by_host(sums);
      const Results expected = sums();
      expect_same({fused[0], fused[2]}, {expected[0], expected[2]});
      expect_close({fused[1]}, {expected[1]});
      const Tensor log_sum = expected[0] + expected[1].log();
      const auto gradient = [&] { return Results{into_gradient(logits.clone(), log_sum, column)}; };
      expect_close(by_host(gradient), gradient());
    }
  }
}

TEST(HostTraining, TheGradientOfLogitsTakesTheirPlace) {
  const Tensor logits = numbers_of({3, 50}, at::kBFloat16, 1);
  (void)by_host([&] {
    const Tensor column = at::zeros({3, 1}, at::kLong);
    const Tensor gradient = into_gradient(logits, at::full({3, 1}, 4.0, at::kFloat), column);
    EXPECT_EQ(gradient.data_ptr(), logits.data_ptr());
    return Results{};
  });
}

TEST(HostTraining, TargetsMustBeThoseOfTheLogits) {
  EXPECT_THROW_WITH((void)sum_logits(at::zeros({3, 2}), at::zeros({2, 1}, at::kLong)),
                    InternalError, "2 against 3 tokens of the logits");
}

}  // namespace
}  // namespace molora
