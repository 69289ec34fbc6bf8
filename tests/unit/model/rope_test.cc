#include "model/rope.h"

#include <gtest/gtest.h>

namespace molora {
namespace {

Architecture with_heads_of(int64_t head_dim) {
  Architecture a;
  a.head_dim = head_dim;
  a.rope.theta = 100.0;
  return a;
}

TEST(Rope, PositionZeroTurnsNothing) {
  const RotaryTables tables = rotary_tables(rotary_frequencies(with_heads_of(8), at::kDouble),
                                            at::zeros(3, at::kLong), at::kDouble);
  const Tensor x = at::randn({3, 2, 8}, at::kDouble);
  EXPECT_TRUE(apply_rotary(x, tables).equal(x));
}

TEST(Rope, KeepsLengths) {
  const RotaryTables tables = rotary_tables(rotary_frequencies(with_heads_of(8), at::kDouble),
                                            at::arange(5, at::kLong), at::kDouble);
  const Tensor x = at::randn({5, 2, 8}, at::kDouble);
  EXPECT_TRUE(at::allclose(apply_rotary(x, tables).norm(2, {2}), x.norm(2, {2})));
}

// The scores depend on the distance of two tokens alone.
TEST(Rope, ScoresDependOnDistance) {
  const Tensor q = at::randn({1, 1, 8}, at::kDouble);
  const Tensor k = at::randn({1, 1, 8}, at::kDouble);
  const Tensor frequencies = rotary_frequencies(with_heads_of(8), at::kDouble);
  const auto score = [&](int64_t i, int64_t j) {
    const auto at_position = [&](const Tensor& x, int64_t p) {
      return apply_rotary(x, rotary_tables(frequencies, at::full(1, p, at::kLong), at::kDouble));
    };
    return (at_position(q, i) * at_position(k, j)).sum().item<double>();
  };
  EXPECT_NEAR(score(7, 3), score(24, 20), 1e-12);
}

TEST(Rope, Llama3KeepsShortAndStretchesLongWavelengths) {
  Architecture a = with_heads_of(64);
  a.rope.theta = 500000.0;
  const Tensor plain = rotary_frequencies(a, at::kDouble);
  a.rope.llama3 = Rope::Llama3{8.0, 1.0, 4.0, 8192.0};
  const Tensor scaled = rotary_frequencies(a, at::kDouble);
  EXPECT_EQ(scaled[0].item<double>(), plain[0].item<double>());
  EXPECT_NEAR(scaled[-1].item<double>(), plain[-1].item<double>() / 8.0, 1e-18);
  EXPECT_TRUE((scaled.slice(0, 1) <= scaled.slice(0, 0, -1)).all().item<bool>());
}

}  // namespace
}  // namespace molora
