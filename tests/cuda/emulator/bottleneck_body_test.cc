// Gates and dropout, as kernels.
#include "base/philox.h"
#include "cuda/emulator/body_numbers.h"
#include "cuda/emulator/run_body.h"
#include "kernels/bodies/dropout_body.h"
#include "kernels/bodies/gate_scale_body.h"

namespace molora::testing {
namespace {

template <typename Number>
class BottleneckBody : public ::testing::Test {};
using Numbers = ::testing::Types<float, BFloat16, double>;
TYPED_TEST_SUITE(BottleneckBody, Numbers);

TYPED_TEST(BottleneckBody, AGateMultipliesItsExpertsColumns) {
  using Weight = Wide<TypeParam>;
  using Body = GateForward<TypeParam, Weight>;
  for (const int64_t gates : kEdgeSizes) {
    for (const int64_t r : {0, 1, 3, 8, 33}) {
      const auto u = some_numbers<TypeParam>(gates * r, 1);
      const auto weights = some_numbers<Weight>(gates, 2);
      const Weight scale = 0.3f;
      const auto groups = RowGroups<Body::kThreads>::for_columns(r);
      const std::tuple outputs(std::vector<TypeParam>(u.size()));
      const auto [h] = run_in_every_order(outputs, [&](auto& out, uint64_t order) {
        run_body(Body{u.data(), weights.data(), std::get<0>(out).data(), gates, r, scale, groups},
                 order);
      });
      for (size_t i = 0; i < u.size(); ++i) {
        // The gate is rounded before it meets u: bit for bit.
        const Weight gate = weights[i / static_cast<size_t>(r)] * scale;
        const Weight rounded = to_wide(round_to<TypeParam>(gate));
        ASSERT_EQ(to_wide(h[i]), to_wide(round_to<TypeParam>(to_wide(u[i]) * rounded))) << i;
      }
    }
  }
}

TYPED_TEST(BottleneckBody, GradientsOfGatesAreSumsOverTheirColumns) {
  using Weight = Wide<TypeParam>;
  using Body = GateBackward<TypeParam, Weight>;
  for (const int64_t gates : {0, 1, 31, 67}) {
    for (const int64_t r : {0, 1, 3, 8, 33, 64}) {
      const auto u = some_numbers<TypeParam>(gates * r, 1);
      const auto weights = some_numbers<Weight>(gates, 2);
      const auto d_h = some_numbers<TypeParam>(gates * r, 3);
      const Weight scale = 0.3f;
      const auto groups = RowGroups<Body::kThreads>::for_columns(r, kWarpLanes);
      const std::tuple outputs(std::vector<TypeParam>(u.size()),
                               std::vector<Weight>(weights.size(), Weight{99}));
      const auto [d_u, d_w] = run_in_every_order(outputs, [&](auto& out, uint64_t order) {
        run_body(Body{u.data(), weights.data(), d_h.data(), std::get<0>(out).data(),
                      std::get<1>(out).data(), gates, r, scale, groups},
                 order);
      });
      std::vector<double> expected_d_w(weights.size());
      std::vector<double> expected_d_u;
      for (size_t i = 0; i < u.size(); ++i) {
        const size_t gate = i / static_cast<size_t>(r);
        expected_d_w[gate] += static_cast<double>(to_wide(d_h[i])) *
                              static_cast<double>(to_wide(u[i])) * static_cast<double>(scale);
        expected_d_u.push_back(static_cast<double>(to_wide(d_h[i])) *
                               static_cast<double>(weights[gate] * scale));
      }
      expect_near(d_w, expected_d_w);
      expect_near(d_u, expected_d_u);
    }
  }
}

// The mask of tensor/philox_tensor.h, channel by channel.
template <typename Number>
Number dropped(Number x, uint64_t key, uint64_t sample, uint64_t position, int64_t channel,
               uint32_t drop_below, Wide<Number> kept) {
  const PhiloxBlock words =
      philox_4x32_10(key, {static_cast<uint32_t>(channel / 4), static_cast<uint32_t>(position),
                           static_cast<uint32_t>(sample), static_cast<uint32_t>(sample >> 32)});
  const bool drop = words[static_cast<size_t>(channel % 4)] < drop_below;
  return round_to<Number>(to_wide(x) * (drop ? Wide<Number>{0} : kept));
}

TYPED_TEST(BottleneckBody, DropoutIsAFunctionOfTheTokensPlace) {
  using Body = ApplyDropout<TypeParam>;
  constexpr uint64_t kKey = 0x123456789abcdef;
  constexpr uint32_t kDropBelow = 0x60000000;
  const Wide<TypeParam> kept = to_wide(round_to<TypeParam>(1.6f));
  for (const int64_t tokens : {0, 1, 5, 70}) {
    for (const auto& [first, width] : {std::pair<int64_t, int64_t>{0, 0},
                                       {0, 16},
                                       {3, 1},
                                       {5, 11},
                                       {4097, 33},
                                       {(int64_t{1} << 33) + 2, 6}}) {
      const auto x = some_numbers<TypeParam>(tokens * width, 1);
      std::vector<int64_t> samples;
      std::vector<int64_t> positions;
      for (int64_t t = 0; t < tokens; ++t) {
        samples.push_back((t << 31) + 5);
        positions.push_back(3 * t);
      }
      const auto groups = RowGroups<Body::kThreads>::for_columns(Body::blocks_of(first, width));
      const std::tuple outputs(std::vector<TypeParam>(x.size()));
      const auto [y] = run_in_every_order(outputs, [&](auto& out, uint64_t order) {
        run_body(Body{x.data(), std::get<0>(out).data(), samples.data(), positions.data(), tokens,
                      first, width, kKey, kDropBelow, kept, groups},
                 order);
      });
      for (size_t i = 0; i < x.size(); ++i) {
        const size_t t = i / static_cast<size_t>(width);
        const int64_t channel = first + static_cast<int64_t>(i) % width;
        const TypeParam expected =
            dropped(x[i], kKey, static_cast<uint64_t>(samples[t]),
                    static_cast<uint64_t>(positions[t]), channel, kDropBelow, kept);
        ASSERT_EQ(to_wide(y[i]), to_wide(expected)) << i;
      }
    }
  }
}

}  // namespace
}  // namespace molora::testing
