// Routers by the loops of the CPU against the same by LibTorch's operators.
#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/routing.h"
#include "support/expect_throw.h"
#include "support/kernel_results.h"

namespace molora {
namespace {

using testing::by_host;
using testing::expect_close;
using testing::expect_same;
using testing::kWideTypes;
using testing::numbers_of;
using testing::Results;
using testing::value_and_gradients;

TEST(HostRouting, RoutingAgrees) {
  for (const at::ScalarType type : kWideTypes) {
    for (const RouterGate gate :
         {RouterGate::kTopkSoftmax, RouterGate::kSoftmaxTopk, RouterGate::kDenseSoftmax}) {
      for (const auto& [tokens, experts, k] :
           {std::tuple{0, 4, 2}, {1, 1, 1}, {37, 8, 2}, {5, 70, 9}, {600, 128, 2}}) {
        const Tensor logits = numbers_of({tokens, experts}, type, 1);
        const int64_t chosen_per_token = gate == RouterGate::kDenseSoftmax ? experts : k;
        const auto choose = [&] { return Results{choose_experts(logits, chosen_per_token)}; };
        expect_same(by_host(choose), choose());
        const auto route = [&] {
          return value_and_gradients({logits}, [&](const Results& in) {
            return route_top_k(in[0], chosen_per_token, gate).weights_TE;
          });
        };
        expect_close(by_host(route), route());
      }
    }
  }
}

TEST(HostRouting, TiesAndWhatIsNotANumberAreChosenAsOperatorsDo) {
  const double inf = std::numeric_limits<double>::infinity();
  const double nan = std::nan("");
  const Tensor logits = at::tensor({1.0, 3.0, 3.0, 1.0, 3.0, nan,   //
                                    nan, nan, 2.0, inf, -inf, nan,  //
                                    -inf, -inf, -inf, 0.0, -0.0, inf})
                            .view({3, 6});
  for (const int64_t k : {1, 2, 5, 6}) {
    for (const at::ScalarType type : kWideTypes) {
      const auto choose = [&] { return Results{choose_experts(logits.to(type), k)}; };
      expect_same(by_host(choose), choose());
    }
  }
}

TEST(HostRouting, ARecordedChoiceIsWeighedAsOperatorsDo) {
  const Tensor logits = numbers_of({9, 6}, at::kFloat, 1);
  const Tensor chosen = choose_experts(-logits, 3);
  const auto weigh = [&] {
    return value_and_gradients({logits}, [&](const Results& in) {
      return gate_weights(in[0], chosen, RouterGate::kSoftmaxTopk);
    });
  };
  expect_close(by_host(weigh), weigh());
}

TEST(HostRouting, AChoiceOfNoExpertIsRefused) {
  const auto call = [] {
    (void)by_host([] {
      return Results{gate_weights(at::zeros({1, 4}), at::full({1, 1}, 4, at::kLong),
                                  RouterGate::kTopkSoftmax)};
    });
  };
  EXPECT_THROW_WITH(call(), InternalError, "expert 4 of 4");
}

TEST(HostRouting, StatisticsOfRoutersAgree) {
  for (const at::ScalarType type : kWideTypes) {
    for (const auto& [tokens, experts, k] :
         {std::tuple{0, 4, 2}, {300, 5, 2}, {7, 3, 3}, {128, 64, 2}}) {
      const Tensor logits = numbers_of({tokens, experts}, type, 1);
      const Tensor chosen = choose_experts(logits, k);
      const auto add = [&] {
        const Tensor counts_RE = at::ones({2, experts}, at::kLong);
        const Tensor shares_RE = at::ones({2, experts}, at::kDouble);
        const Tensor z_R = at::ones({2}, at::kDouble);
        add_router_statistics({counts_RE.select(0, 1), shares_RE.select(0, 1), z_R.select(0, 1)},
                              logits, chosen);
        return Results{counts_RE, shares_RE, z_R};
      };
      expect_close(by_host(add), add());
    }
  }
}

}  // namespace
}  // namespace molora
