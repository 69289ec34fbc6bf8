// The operations of a layer by the loops of the CPU against the same by LibTorch's operators:
// values and gradients.
#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/cross_entropy.h"
#include "kernels/dropout.h"
#include "kernels/gating.h"
#include "kernels/norm.h"
#include "kernels/rotary.h"
#include "kernels/routing.h"
#include "kernels/swiglu.h"
#include "support/expect_throw.h"
#include "support/gradcheck.h"
#include "support/kernel_results.h"

namespace molora {
namespace {

using testing::by_host;
using testing::expect_close;
using testing::expect_same;
using testing::kNumberTypes;
using testing::kWideTypes;
using testing::numbers_of;
using testing::Results;
using testing::value_and_gradients;
using testing::wide_type_of;

// None, one, the edges of a register's and of the sums' lanes, primes, a model's.
constexpr int64_t kWidths[] = {0, 1, 7, 15, 16, 17, 31, 33, 64, 127, 576, 1031};

TEST(HostKernels, AreForTheCpuAndChosenApart) {
  const Tensor x = at::zeros(1);
  EXPECT_FALSE(host_kernels_wanted(x));
  (void)by_host([&] {
    EXPECT_TRUE(host_kernels_wanted(x));
    EXPECT_FALSE(fused_kernels_wanted(x));
    EXPECT_FALSE(host_kernels_wanted(at::empty({1}, at::kMeta)));
    return Results{};
  });
}

TEST(HostKernels, NormsAgree) {
  for (const at::ScalarType type : kNumberTypes) {
    for (const int64_t width : kWidths) {
      for (const auto& rows : {std::vector<int64_t>{0}, {1}, {3, 2}, {67}}) {
        std::vector<int64_t> sizes = rows;
        sizes.push_back(width);
        const Tensor weight = numbers_of({width}, type, 2);
        const auto norm = [&] {
          return value_and_gradients({numbers_of(sizes, type, 1)}, [&](const Results& in) {
            return rms_norm(in[0], weight, 1e-6);
          });
        };
        expect_close(by_host(norm), norm());
      }
    }
  }
}

TEST(HostKernels, GatedUnitsAgree) {
  for (const at::ScalarType type : kNumberTypes) {
    for (const int64_t width : kWidths) {
      for (const int64_t rows : {0, 1, 67}) {
        const Tensor gate = numbers_of({rows, width}, type, 1) * 6;
        const Tensor up = numbers_of({rows, width}, type, 2);
        const auto unit = [&] {
          return value_and_gradients({gate, up},
                                     [](const Results& in) { return swiglu(in[0], in[1]); });
        };
        const Results fused = by_host(unit);
        if (type != at::kBFloat16) {
          expect_close(fused, unit());
          continue;
        }
        // The operators round on the way: fp32 throughout is what is meant.
        Results exact = value_and_gradients(
            {gate.to(at::kFloat), up.to(at::kFloat)},
            [&](const Results& in) { return swiglu(in[0], in[1]).to(at::kBFloat16); });
        for (Tensor& of : exact) of = of.to(at::kBFloat16);
        expect_close(fused, exact);
      }
    }
  }
}

TEST(HostKernels, GatedUnitsHaveTheGradientsOfTheirFormula) {
  (void)by_host([] {
    const Tensor factors = numbers_of({3, 5}, at::kDouble, 3);
    testing::expect_gradients(
        [&](const Results& in) { return (swiglu(in[0], in[1]) * factors).sum(); },
        {numbers_of({3, 5}, at::kDouble, 1).requires_grad_(),
         numbers_of({3, 5}, at::kDouble, 2).requires_grad_()});
    return Results{};
  });
}

TEST(HostKernels, AGateOfOtherSizesIsRefused) {
  EXPECT_THROW_WITH((void)swiglu(at::zeros({2, 3}), at::zeros({3, 2, 2})), InternalError,
                    "a gate of 6 elements for 12");
}

TEST(HostKernels, RotationsAgreeToTheBit) {
  for (const at::ScalarType type : kNumberTypes) {
    for (const auto& [tokens, heads, size] :
         {std::tuple{0, 2, 4}, {1, 1, 2}, {7, 3, 16}, {5, 2, 64}, {3, 2, 70}, {200, 9, 64}}) {
      const Tensor x = numbers_of({tokens, heads, size}, type, 1);
      const Tensor cos = numbers_of({tokens, size}, type, 2);
      const Tensor sin = numbers_of({tokens, size}, type, 3);
      const auto turn = [&] {
        return value_and_gradients(
            {x}, [&](const Results& in) { return apply_rotary(in[0], cos, sin); });
      };
      expect_same(by_host(turn), turn());
    }
  }
}

TEST(HostKernels, GatesAgree) {
  for (const at::ScalarType type : kNumberTypes) {
    for (const auto& [tokens, experts, r] :
         {std::tuple{0, 4, 2}, {1, 1, 1}, {13, 3, 8}, {5, 2, 40}, {300, 8, 16}}) {
      const at::ScalarType wide = wide_type_of(type);
      const Tensor u = numbers_of({tokens, experts * r}, type, 1);
      const Tensor weights = numbers_of({tokens, experts}, wide, 2);
      const auto gate = [&, lora_rank = r] {
        return value_and_gradients({u, weights}, [&](const Results& in) {
          return gate_and_scale(in[0], in[1], 1.7, lora_rank);
        });
      };
      const auto fused = by_host(gate);
      const auto expected = gate();
      expect_same({fused[0], fused[1]}, {expected[0], expected[1]});
      // The operators round each product and each sum to u's type on the way.
      const Tensor d_h = numbers_of(u.sizes(), type, 99).to(wide);
      const Tensor products = (d_h * u.to(wide)).view({tokens, experts, r});
      expect_close({fused[2]}, {products.sum(2) * 1.7});
    }
  }
}

TEST(HostKernels, DropoutAgreesToTheBit) {
  const Tensor samples = at::arange(7, at::kLong) * (int64_t{1} << 33);
  const Tensor positions = at::arange(7, at::kLong) * 5;
  for (const at::ScalarType type : kNumberTypes) {
    for (const auto& [begin, end] :
         {std::pair<int64_t, int64_t>{0, 12}, {5, 6}, {1021, 1038}, {4, 4}, {3, 579}}) {
      const Tensor x = numbers_of({7, end - begin}, type, 1);
      const auto drop = [&, channels = DropoutChannels{begin, end}] {
        return value_and_gradients({x}, [&](const Results& in) {
          return apply_dropout(in[0], samples, positions, channels, {0.3, 0xfedcba9876543210});
        });
      };
      expect_same(by_host(drop), drop());
    }
  }
}

TEST(HostKernels, TensorsThatLieApartAreTakenAsTheyAre) {
  for (const at::ScalarType type : kNumberTypes) {
    const Tensor x = numbers_of({6, 4, 10}, type, 1).transpose(0, 1).slice(2, 1, 9);
    const Tensor table = numbers_of({8, 4}, type, 2).t();
    const Tensor joined = numbers_of({5, 40}, type, 3);
    const auto turn = [&] {
      return Results{
          apply_rotary(x, table, table), apply_rotary(x.transpose(0, 2), table.t(), table.t()),
          rms_norm(x, table[0], 1e-6), swiglu(joined.slice(1, 0, 20), joined.slice(1, 20)),
          swiglu(joined.t().slice(0, 0, 20), joined.t().slice(0, 20))};
    };
    expect_close(by_host(turn), turn());
  }
}

// What is not finite, or almost zero, goes where the operators let it go.
TEST(HostKernels, NumbersOutOfTheOrdinaryAgree) {
  for (const at::ScalarType type : kWideTypes) {
    const double inf = std::numeric_limits<double>::infinity();
    const double tiny = type == at::kFloat ? 1e-42 : 1e-310;
    const Tensor odd = at::tensor(
        {0.0, -0.0, 1.0, inf, -inf, std::nan(""), tiny, -tiny, 1e30, -1e30, 100.0, -100.0}, type);
    const int64_t n = odd.size(0);
    // Each beside each, and rows that have one of them among ordinary numbers.
    const Tensor a = odd.unsqueeze(1).expand({n, n}).contiguous();
    const Tensor b = odd.unsqueeze(0).expand({n, n}).contiguous();
    Tensor rows = numbers_of({n, 40}, type, 1);
    rows.select(1, 3).copy_(odd);
    const auto all = [&] {
      Results results =
          value_and_gradients({a, b}, [](const Results& in) { return swiglu(in[0], in[1]); });
      const auto add = [&](const Results& more) {
        results.insert(results.end(), more.begin(), more.end());
      };
      add(value_and_gradients(
          {rows}, [&](const Results& in) { return rms_norm(in[0], at::ones({40}, type), 1e-6); }));
      add(value_and_gradients({rows}, [&](const Results& in) {
        return gate_and_scale(in[0], rows.slice(1, 0, 5), 2.0, 8);
      }));
      for (const RouterGate gate : {RouterGate::kTopkSoftmax, RouterGate::kSoftmaxTopk}) {
        add({route_top_k(rows, 3, gate).weights_TE});
      }
      const auto [largest, sum, target] = sum_logits(rows, at::full({n, 1}, 3, at::kLong));
      add({largest, sum, target});
      return results;
    };
    expect_close(by_host(all), all());
  }
}

TEST(HostKernels, TypesWithoutAKernelAreRefused) {
  const Tensor half = at::zeros({2, 4}, at::kHalf);
  const auto call = [&] { (void)by_host([&] { return Results{swiglu(half, half)}; }); };
  EXPECT_THROW_WITH(call(), InternalError, "no kernel takes Half: fp32, bf16 and fp64 are there");
}

}  // namespace
}  // namespace molora
