// The operations of src/kernels by kernels against the same by LibTorch's operators: values and
// gradients. The kernels run on the host (emulated_launch.h), so tensors are the CPU's.
#include <functional>

#include <gtest/gtest.h>

#include "base/error.h"
#include "cuda/emulator/emulated_launch.h"
#include "kernels/adamw_step.h"
#include "kernels/dropout.h"
#include "kernels/gating.h"
#include "kernels/kernel_choice.h"
#include "kernels/norm.h"
#include "kernels/rotary.h"
#include "kernels/routing.h"
#include "kernels/token_rows.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

using testing::emulated_launches;

constexpr at::ScalarType kTypes[] = {at::kFloat, at::kBFloat16, at::kDouble};
constexpr at::ScalarType kWideTypes[] = {at::kFloat, at::kDouble};

// Numbers in [-2, 2) of a type, the same for the same seed.
Tensor some_tensor(at::IntArrayRef sizes, at::ScalarType type, uint64_t seed) {
  Tensor numbers = at::empty(sizes, at::kDouble);
  fill_uniform(numbers, 2.0, seed, 0);
  return numbers.to(type);
}

std::vector<Tensor> by_kernels(const std::function<std::vector<Tensor>()>& work) {
  choose_kernels(KernelChoice::kFused, at::kCPU);
  std::vector<Tensor> results = work();
  choose_kernels(KernelChoice::kAten);
  return results;
}

// To the rounding of a few operations in the type of the results.
void expect_close(const std::vector<Tensor>& actual, const std::vector<Tensor>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_EQ(actual[i].sizes(), expected[i].sizes());
    ASSERT_EQ(actual[i].scalar_type(), expected[i].scalar_type());
    const bool is_half = actual[i].scalar_type() == at::kBFloat16;
    const double tolerance = is_half ? 2e-2 : actual[i].scalar_type() == at::kFloat ? 5e-6 : 1e-13;
    EXPECT_TRUE(at::allclose(actual[i], expected[i], tolerance, tolerance))
        << "result " << i << ": " << (actual[i] - expected[i]).abs().max();
  }
}
void expect_same(const std::vector<Tensor>& actual, const std::vector<Tensor>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) EXPECT_TRUE(actual[i].equal(expected[i])) << i;
}

// The value of f(inputs) and its gradients with respect to the inputs, for a fixed gradient of it.
std::vector<Tensor> value_and_gradients(
    const std::vector<Tensor>& inputs, const std::function<Tensor(const std::vector<Tensor>&)>& f) {
  std::vector<Tensor> leaves;
  for (const Tensor& input : inputs) leaves.push_back(input.detach().clone().requires_grad_());
  const Tensor value = f(leaves);
  value.backward(some_tensor(value.sizes(), value.scalar_type(), 99));
  std::vector<Tensor> results = {value.detach()};
  for (const Tensor& leaf : leaves) results.push_back(leaf.grad());
  return results;
}

TEST(KernelWrappers, RoutingChoosesAndWeighsAsOperatorsDo) {
  for (const at::ScalarType type : kWideTypes) {
    for (const RouterGate gate :
         {RouterGate::kTopkSoftmax, RouterGate::kSoftmaxTopk, RouterGate::kDenseSoftmax}) {
      for (const auto& [tokens, experts, k] :
           {std::tuple{0, 4, 2}, {1, 1, 1}, {37, 8, 2}, {5, 70, 9}}) {
        const Tensor logits = some_tensor({tokens, experts}, type, 1);
        const int64_t chosen_per_token = gate == RouterGate::kDenseSoftmax ? experts : k;
        const auto choose = [&] { return std::vector{choose_experts(logits, chosen_per_token)}; };
        expect_same(by_kernels(choose), choose());
        const auto route = [&] {
          return value_and_gradients({logits}, [&](const std::vector<Tensor>& in) {
            return route_top_k(in[0], chosen_per_token, gate).weights_TE;
          });
        };
        expect_close(by_kernels(route), route());
      }
    }
  }
}

TEST(KernelWrappers, ARecordedChoiceIsWeighedAsOperatorsDo) {
  const Tensor logits = some_tensor({9, 6}, at::kFloat, 1);
  const Tensor chosen = choose_experts(-logits, 3);
  const auto weigh = [&] {
    return value_and_gradients({logits}, [&](const std::vector<Tensor>& in) {
      return gate_weights(in[0], chosen, RouterGate::kSoftmaxTopk);
    });
  };
  expect_close(by_kernels(weigh), weigh());
}

TEST(KernelWrappers, StatisticsOfRoutersAgree) {
  for (const at::ScalarType type : kWideTypes) {
    for (const auto& [tokens, experts, k] : {std::tuple{0, 4, 2}, {300, 5, 2}, {7, 3, 3}}) {
      const Tensor logits = some_tensor({tokens, experts}, type, 1);
      const Tensor chosen = choose_experts(logits, k);
      const auto add = [&] {
        const Tensor counts_RE = at::ones({2, experts}, at::kLong);
        const Tensor shares_RE = at::ones({2, experts}, at::kDouble);
        const Tensor z_R = at::ones({2}, at::kDouble);
        add_router_statistics({counts_RE.select(0, 1), shares_RE.select(0, 1), z_R.select(0, 1)},
                              logits, chosen);
        return std::vector{counts_RE, shares_RE, z_R};
      };
      expect_close(by_kernels(add), add());
    }
  }
}

TEST(KernelWrappers, RowsOfAnyTypeAndWidthAreGathered) {
  const Tensor index = at::tensor({4, 0, 4, 2}, at::kLong);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble, at::kLong, at::kBool}) {
    for (const int64_t width : {0, 1, 3, 8, 300}) {
      const Tensor wide = some_tensor({5, width + 1}, at::kDouble, 3).mul(100).to(type);
      // Whole rows, rows that begin off the units' alignment, and rows that lie apart.
      for (const Tensor& x : {wide, wide.flatten().slice(0, 1, 1 + 5 * width).view({5, width}),
                              wide.slice(1, 0, width)}) {
        const auto gather = [&] { return std::vector{gather_rows(x, index)}; };
        expect_same(by_kernels(gather), gather());
      }
    }
  }
  const auto none = [&] {
    return std::vector{gather_rows(at::zeros({0, 4}), at::empty({0}, at::kLong))};
  };
  expect_same(by_kernels(none), none());
}

TEST(KernelWrappers, TheOrderOfSendingAgrees) {
  for (const auto& [tokens, destinations] : {std::pair{0, 3}, {1, 1}, {1500, 3}, {40, 9}}) {
    const Tensor needed = some_tensor({tokens, destinations}, at::kDouble, 4) < -0.5;
    const auto order = [&] {
      const ExchangeIndex index = exchange_index(needed);
      const SentRows rows = list_sent_rows(index.position_TP, needed.sum().item<int64_t>());
      return std::vector{index.counts_P, index.position_TP, rows.tokens_S, rows.destinations_S};
    };
    expect_same(by_kernels(order), order());
  }
}

TEST(KernelWrappers, RowsAreCombinedToTheSameBits) {
  for (const at::ScalarType type : kTypes) {
    for (const int64_t width : {0, 1, 3, 64}) {
      const Tensor needed = some_tensor({23, 5}, at::kDouble, 4) < 0.5;
      const Tensor position = exchange_index(needed).position_TP;
      const Tensor rows = some_tensor({needed.sum().item<int64_t>(), width}, type, 5);
      const auto combine = [&] { return std::vector{combine_rows(rows, position)}; };
      expect_same(by_kernels(combine), combine());
    }
  }
  const auto none = [&] {
    return std::vector{combine_rows(at::zeros({0, 4}), at::full({3, 2}, -1, at::kLong))};
  };
  expect_same(by_kernels(none), none());
}

TEST(KernelWrappers, GatesAgreeInValueAndGradients) {
  for (const at::ScalarType type : kTypes) {
    for (const auto& [tokens, experts, r] :
         {std::tuple{0, 4, 2}, {1, 1, 1}, {13, 3, 8}, {5, 2, 40}}) {
      const Tensor u = some_tensor({tokens, experts * r}, type, 1);
      const Tensor weights =
          some_tensor({tokens, experts}, type == at::kDouble ? at::kDouble : at::kFloat, 2);
      const auto gate = [&, lora_rank = r] {
        return value_and_gradients({u, weights}, [&](const std::vector<Tensor>& in) {
          return gate_and_scale(in[0], in[1], 1.7, lora_rank);
        });
      };
      const auto fused = by_kernels(gate);
      const auto expected = gate();
      EXPECT_TRUE(fused[0].equal(expected[0]));
      EXPECT_TRUE(fused[1].equal(expected[1]));
      // The operators round each product and each sum to u's type on the way.
      const Tensor d_h = some_tensor(u.sizes(), type, 99).to(weights.scalar_type());
      const Tensor products = (d_h * u.to(weights.scalar_type())).view({tokens, experts, r});
      expect_close({fused[2]}, {products.sum(2) * 1.7});
      if (type != at::kBFloat16) expect_close({fused[2]}, {expected[2]});
    }
  }
}

TEST(KernelWrappers, DropoutAgreesToTheBit) {
  const Tensor samples = at::arange(7, at::kLong) * (int64_t{1} << 33);
  const Tensor positions = at::arange(7, at::kLong) * 5;
  for (const at::ScalarType type : kTypes) {
    for (const auto& [begin, end] :
         {std::pair<int64_t, int64_t>{0, 12}, {5, 6}, {1021, 1038}, {4, 4}}) {
      const Tensor x = some_tensor({7, end - begin}, type, 1);
      const auto drop = [&, channels = DropoutChannels{begin, end}] {
        return value_and_gradients({x}, [&](const std::vector<Tensor>& in) {
          return apply_dropout(in[0], samples, positions, channels, {0.3, 0xfedcba9876543210});
        });
      };
      expect_same(by_kernels(drop), drop());
    }
  }
}

struct AdamWCase {
  std::vector<AdamWTensor> tensors;
  explicit AdamWCase(int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const at::ScalarType type = i % 3 == 2 ? at::kDouble : at::kFloat;
      const auto numbers = [&](uint64_t seed) {
        return some_tensor({i % 5, 2, 3}, type, seed + 10 * static_cast<uint64_t>(i));
      };
      tensors.push_back({numbers(1), numbers(2), numbers(3).abs(), numbers(4)});
      if (i % 5 == 4) tensors.back().frozen_rows = {1, 3};
    }
  }
  std::vector<Tensor> all() const {
    std::vector<Tensor> all;
    for (const AdamWTensor& t : tensors) all.insert(all.end(), {t.value, t.first, t.second});
    return all;
  }
};

TEST(KernelWrappers, AdamWUpdatesAgree) {
  for (const double beta1 : {0.9, 0.4}) {
    for (const double decay : {0.0, 0.1}) {
      const auto update = [&, beta1_ = beta1, decay_ = decay] {
        const AdamWCase given(200);
        for (int64_t t = 1; t <= 3; ++t)
          adamw_step(given.tensors, {1e-2, beta1_, 0.95, 1e-8, decay_, t});
        return given.all();
      };
      expect_close(by_kernels(update), update());
    }
  }
}

TEST(KernelWrappers, AdamWStartsOneKernelForManyTensors) {
  const int64_t before = emulated_launches();
  (void)by_kernels([] {
    const AdamWCase given(60);
    adamw_step(given.tensors, {1e-2, 0.9, 0.95, 1e-8, 0.0, 1});
    return given.all();
  });
  EXPECT_EQ(emulated_launches() - before, 2);  // fp32 and fp64
}

TEST(KernelWrappers, FrozenRowsKeepTheirBits) {
  (void)by_kernels([] {
    AdamWCase given(5);
    const AdamWTensor& frozen = given.tensors[4];
    const Tensor rows = at::tensor({1, 3}, at::kLong);
    std::vector<Tensor> before;
    for (const Tensor& of : given.all()) before.push_back(of.clone());
    adamw_step(given.tensors, {1e-2, 0.9, 0.95, 1e-8, 0.1, 1});
    EXPECT_TRUE(frozen.value.index_select(0, rows).equal(before[12].index_select(0, rows)));
    EXPECT_TRUE(frozen.first.index_select(0, rows).equal(before[13].index_select(0, rows)));
    EXPECT_TRUE(frozen.second.index_select(0, rows).equal(before[14].index_select(0, rows)));
    EXPECT_FALSE(frozen.value.select(0, 2).equal(before[12].select(0, 2)));
    return std::vector<Tensor>{};
  });
}

TEST(KernelWrappers, NormsAgreeInValueAndGradient) {
  for (const at::ScalarType type : kTypes) {
    for (const auto& sizes : {std::vector<int64_t>{0, 8}, {3, 0}, {5, 33}, {2, 3, 64}, {3, 1025}}) {
      const Tensor x = some_tensor(sizes, type, 1);
      const Tensor weight = some_tensor({sizes.back()}, type, 2);
      const auto norm = [&] {
        return value_and_gradients(
            {x}, [&](const std::vector<Tensor>& in) { return rms_norm(in[0], weight, 1e-6); });
      };
      expect_close(by_kernels(norm), norm());
    }
  }
}

TEST(KernelWrappers, RotationsAgreeToTheBit) {
  for (const at::ScalarType type : kTypes) {
    for (const auto& [tokens, heads, size] :
         {std::tuple{0, 2, 4}, {1, 1, 2}, {7, 3, 16}, {5, 2, 64}, {3, 2, 70}}) {
      const Tensor x = some_tensor({tokens, heads, size}, type, 1);
      const Tensor cos = some_tensor({tokens, size}, type, 2);
      const Tensor sin = some_tensor({tokens, size}, type, 3);
      const auto turn = [&] {
        return value_and_gradients(
            {x}, [&](const std::vector<Tensor>& in) { return apply_rotary(in[0], cos, sin); });
      };
      expect_same(by_kernels(turn), turn());
    }
  }
}

TEST(KernelWrappers, TensorsThatLieApartAreTakenAsTheyAre) {
  const Tensor x = some_tensor({6, 4, 10}, at::kFloat, 1).transpose(0, 1).slice(2, 1, 9);
  const Tensor table = some_tensor({8, 4}, at::kFloat, 2).t();
  const auto turn = [&] {
    return std::vector{apply_rotary(x, table, table), rms_norm(x, table[0], 1e-6)};
  };
  expect_close(by_kernels(turn), turn());
}

// One pass through everything that sums, in several orders of threads.
TEST(KernelWrappers, OrdersOfThreadsGiveTheSameBits) {
  const auto all = [] {
    const Tensor logits = some_tensor({150, 6}, at::kFloat, 1);
    const Tensor x = some_tensor({9, 1100}, at::kFloat, 2);
    const Tensor weight = some_tensor({1100}, at::kFloat, 3);
    const Tensor sums = at::zeros({6}, at::kDouble);
    add_router_statistics({at::zeros({6}, at::kLong), sums, at::zeros({}, at::kDouble)}, logits,
                          choose_experts(logits, 2));
    auto results = value_and_gradients(
        {x}, [&](const std::vector<Tensor>& in) { return rms_norm(in[0], weight, 1e-6); });
    results.push_back(sums);
    return results;
  };
  const auto expected = by_kernels(all);
  for (const uint64_t seed : {1u, 2u, 3u}) {
    testing::set_emulated_order(seed);
    expect_same(by_kernels(all), expected);
  }
  testing::set_emulated_order(0);
}

TEST(KernelWrappers, WhatCannotBeStartedIsReported) {
  testing::set_emulated_error(98);
  const auto call = [] {
    (void)by_kernels([] { return std::vector{choose_experts(at::zeros({2, 2}), 1)}; });
  };
  EXPECT_THROW_WITH(call(), InternalError,
                    "a kernel cannot be started: cudaErrorOfTheTest: words of the test");
  testing::set_emulated_error(0);
  choose_kernels(KernelChoice::kAten);
}

TEST(KernelWrappers, TypesWithoutAKernelAreRefused) {
  const Tensor half = at::zeros({2, 4}, at::kHalf);
  const auto call = [&] {
    (void)by_kernels([&] { return std::vector{rms_norm(half, half[0], 1e-6)}; });
  };
  EXPECT_THROW_WITH(call(), InternalError, "no kernel takes Half: fp32, bf16 and fp64 are there");
  const auto choose = [&] {
    (void)by_kernels([&] { return std::vector{choose_experts(half, 1)}; });
  };
  EXPECT_THROW_WITH(choose(), InternalError, "no kernel takes Half: fp32 and fp64 do");
  choose_kernels(KernelChoice::kAten);
}

}  // namespace
}  // namespace molora
