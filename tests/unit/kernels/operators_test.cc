// The operations of src/kernels as LibTorch's operators compute them, on the CPU. The kernels are
// held against these by tests/cuda/emulator/kernel_wrappers_test.cc.
#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/adamw_step.h"
#include "kernels/dropout.h"
#include "kernels/gating.h"
#include "kernels/kernel_choice.h"
#include "kernels/norm.h"
#include "kernels/rotary.h"
#include "kernels/routing.h"
#include "kernels/token_rows.h"
#include "support/expect_throw.h"
#include "support/gradcheck.h"

namespace molora {
namespace {

Tensor some_tensor(at::IntArrayRef sizes, uint64_t seed) {
  Tensor numbers = at::empty(sizes, at::kDouble);
  fill_uniform(numbers, 2.0, seed, 0);
  return numbers;
}

TEST(KernelChoice, OperatorsAreTheDefault) { EXPECT_FALSE(fused_kernels_wanted(at::zeros(1))); }

#if defined(MOLORA_HAS_KERNELS)
TEST(KernelChoice, KernelsAreForTheGpu) {
  choose_kernels(KernelChoice::kFused);
  EXPECT_FALSE(fused_kernels_wanted(at::zeros(1)));
  choose_kernels(KernelChoice::kAten);
}
#else
TEST(KernelChoice, KernelsNeedAProgramWithCuda) {
  const auto call = [] { choose_kernels(KernelChoice::kFused); };
  EXPECT_THROW_WITH(call(), InternalError,
                    "this program was built without CUDA and has no kernels");
}
#endif

TEST(RoutingOperators, EqualLogitsGoToTheLowerIndex) {
  const Tensor logits = at::tensor({1.0, 3.0, 3.0, 1.0}).view({1, 4});
  EXPECT_TRUE(choose_experts(logits, 3).equal(at::tensor({1, 2, 0}, at::kLong).view({1, 3})));
}

TEST(RoutingOperators, WeightsHaveTheGradientsOfTheirFormulas) {
  for (const RouterGate gate :
       {RouterGate::kTopkSoftmax, RouterGate::kSoftmaxTopk, RouterGate::kDenseSoftmax}) {
    const Tensor factors = some_tensor({3, 5}, 2);
    testing::expect_gradients(
        [&](const std::vector<Tensor>& in) {
          return (route_top_k(in[0], gate == RouterGate::kDenseSoftmax ? 5 : 2, gate).weights_TE *
                  factors)
              .sum();
        },
        {some_tensor({3, 5}, 1).requires_grad_()});
  }
}

TEST(RoutingOperators, TokensOfAChoiceMustBeThoseOfTheLogits) {
  const auto call = [] {
    (void)gate_weights(at::zeros({3, 2}), at::zeros({2, 1}, at::kLong), RouterGate::kTopkSoftmax);
  };
  EXPECT_THROW_WITH(call(), InternalError, "2 against 3 tokens of the choice");
}

TEST(RoutingOperators, StatisticsCountChoicesAndSumShares) {
  const Tensor logits = at::zeros({4, 2}, at::kFloat);
  const StatisticsOfRouter sums = {at::ones({2}, at::kLong), at::zeros({2}, at::kDouble),
                                   at::zeros({}, at::kDouble)};
  add_router_statistics(sums, logits, at::tensor({0, 1, 1, 1}, at::kLong).view({4, 1}));
  EXPECT_TRUE(sums.counts_E.equal(at::tensor({2, 4}, at::kLong)));
  EXPECT_TRUE(sums.prob_sum_E.equal(at::full({2}, 2.0, at::kDouble)));
  EXPECT_NEAR(sums.z_sum.item<double>(), 4 * std::pow(std::log(2.0), 2), 1e-14);
}

TEST(TokenRowsOperators, TheOrderIsThatOfNonzero) {
  for (const auto& [tokens, destinations] : {std::pair{0, 3}, {1, 1}, {50, 4}}) {
    const Tensor needed = some_tensor({tokens, destinations}, 3) < 0.3;
    const Tensor pairs = needed.t().nonzero();
    const ExchangeIndex index = exchange_index(needed);
    const SentRows rows = list_sent_rows(index.position_TP, pairs.size(0));
    EXPECT_TRUE(rows.destinations_S.equal(pairs.select(1, 0)));
    EXPECT_TRUE(rows.tokens_S.equal(pairs.select(1, 1)));
    EXPECT_TRUE(index.counts_P.equal(needed.sum(0)));
    EXPECT_TRUE((index.position_TP >= 0).equal(needed));
  }
}

TEST(TokenRowsOperators, CombineIsTheTransposeOfGather) {
  const Tensor needed = some_tensor({20, 3}, 3) < 0.3;
  const ExchangeIndex index = exchange_index(needed);
  const SentRows rows = list_sent_rows(index.position_TP, needed.sum().item<int64_t>());
  const Tensor x = some_tensor({20, 4}, 5);
  const Tensor y = some_tensor({rows.tokens_S.size(0), 4}, 6);
  EXPECT_NEAR((gather_rows(x, rows.tokens_S) * y).sum().item<double>(),
              (combine_rows(y, index.position_TP) * x).sum().item<double>(), 1e-12);
}

TEST(TokenRowsOperators, CombineAddsInFp32AndRoundsOnce) {
  // 1 + 2^-8 and 2^-8 more: rounded after each sum, bf16 would lose both.
  const Tensor rows = at::tensor({1.0, 0.00390625, 0.00390625}).to(at::kBFloat16).view({3, 1});
  const Tensor position = at::tensor({0, 1, 2}, at::kLong).view({1, 3});
  EXPECT_EQ(combine_rows(rows, position).item<float>(), 1.0078125f);
}

TEST(TokenRowsOperators, AMissingRowIsNotRead) {
  const Tensor rows = at::full({1, 1}, std::nan(""));
  EXPECT_EQ(combine_rows(rows, at::full({1, 2}, -1, at::kLong)).item<float>(), 0.0f);
}

TEST(GatingOperators, GatesHaveTheGradientsOfTheProduct) {
  const Tensor factors = some_tensor({3, 8}, 4);
  testing::expect_gradients(
      [&](const std::vector<Tensor>& in) {
        return (gate_and_scale(in[0], in[1], 0.7, 4) * factors).sum();
      },
      {some_tensor({3, 8}, 1).requires_grad_(), some_tensor({3, 2}, 2).requires_grad_()});
}

TEST(GatingOperators, WithoutARouterThereIsOnlyTheScale) {
  const Tensor u = some_tensor({3, 4}, 1);
  EXPECT_TRUE(gate_and_scale(u, Tensor(), 0.5, 4).equal(u * 0.5));
}

TEST(GatingOperators, ColumnsMustBeThoseOfTheExperts) {
  const auto call = [] { (void)gate_and_scale(at::zeros({2, 6}), at::zeros({2, 2}), 1.0, 4); };
  EXPECT_THROW_WITH(call(), InternalError, "6 against 8 columns of the bottleneck");
}

TEST(DropoutOperators, EveryDeviceHasTheSameMasks) {
  const Tensor samples =
      at::tensor({int64_t{0}, int64_t{7}, (int64_t{1} << 40) + 3, int64_t{-1}}, at::kLong);
  const Tensor positions = at::tensor({0, 1, 4095, 131071}, at::kLong);
  for (const auto type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    for (const auto& [begin, end] :
         {std::pair<int64_t, int64_t>{0, 9}, {3, 5}, {4, 4}, {4094, 4112}}) {
      const Dropout dropout = {0.35, 0xfedcba9876543210};
      EXPECT_TRUE(dropout_mask_by_operators(samples, positions, {begin, end}, dropout, type)
                      .equal(dropout_mask(samples, positions, {begin, end}, dropout, type)));
    }
  }
}

TEST(DropoutOperators, ChannelsMustBeThoseOfTheTensor) {
  const Tensor ids = at::zeros({2}, at::kLong);
  const auto call = [&] { (void)apply_dropout(at::zeros({2, 6}), ids, ids, {0, 5}, {0.5, 1}); };
  EXPECT_THROW_WITH(call(), InternalError, "6 against 5 channels");
}

TEST(AdamWOperators, FrozenRowsAreLeftOutOfTheUpdate) {
  const auto tensor = [](std::vector<int64_t> frozen) {
    return AdamWTensor{some_tensor({4, 2}, 1), some_tensor({4, 2}, 2), some_tensor({4, 2}, 3).abs(),
                       some_tensor({4, 2}, 4), std::move(frozen)};
  };
  const AdamWTensor tensors[] = {tensor({}), tensor({0, 2})};
  adamw_step(tensors, {1e-2, 0.9, 0.95, 1e-8, 0.1, 4});
  const Tensor before = some_tensor({4, 2}, 1);
  for (const int64_t row : {0, 2}) EXPECT_TRUE(tensors[1].value[row].equal(before[row]));
  for (const int64_t row : {1, 3}) EXPECT_TRUE(tensors[1].value[row].equal(tensors[0].value[row]));
  EXPECT_FALSE(tensors[0].value[0].equal(before[0]));
}

TEST(AdamWOperators, ShapesMustAgree) {
  const AdamWTensor wrong[] = {
      {at::zeros({2, 2}), at::zeros({2, 2}), at::zeros({2, 2}), at::zeros({2, 3})}};
  const auto call = [&] { adamw_step(wrong, {1e-2, 0.9, 0.95, 1e-8, 0.1, 1}); };
  EXPECT_THROW_WITH(call(), InternalError, "a state or gradient of 6 elements for 4");
}

TEST(NormOperators, TheGradientIsThatOfTheFormula) {
  const Tensor factors = some_tensor({2, 5}, 4);
  const Tensor weight = some_tensor({5}, 5);
  testing::expect_gradients(
      [&](const std::vector<Tensor>& in) {
        return (rms_norm(in[0], weight, 1e-3) * factors).sum();
      },
      {some_tensor({2, 5}, 1).requires_grad_()});
}

TEST(NormOperators, ATrainedWeightIsRefused) {
  const auto call = [] { (void)rms_norm(at::zeros({2, 5}), at::ones({5}).requires_grad_(), 1e-3); };
  EXPECT_THROW_WITH(call(), InternalError, "!weight.requires_grad()");
}

TEST(RotaryOperators, TheGradientIsThatOfTheRotation) {
  const Tensor cos = some_tensor({2, 4}, 5);
  const Tensor sin = some_tensor({2, 4}, 6);
  const Tensor factors = some_tensor({2, 3, 4}, 4);
  testing::expect_gradients(
      [&](const std::vector<Tensor>& in) {
        return (apply_rotary(in[0], cos, sin) * factors).sum();
      },
      {some_tensor({2, 3, 4}, 1).requires_grad_()});
}

TEST(RotaryOperators, TablesMustBeOfTheTokens) {
  const auto call = [] {
    (void)apply_rotary(at::zeros({2, 1, 4}), at::zeros({3, 4}), at::zeros({3, 4}));
  };
  EXPECT_THROW_WITH(call(), InternalError, "tables of 12 elements for 2 tokens");
}

}  // namespace
}  // namespace molora
