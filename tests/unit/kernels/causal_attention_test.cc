#include "kernels/causal_attention.h"

#include <cmath>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "kernels/kernel_choice.h"

namespace molora {
namespace {

struct Heads {
  int64_t queries;
  int64_t keys;
  int64_t size;
};

struct Inputs {
  Tensor q_THA;
  Tensor k_TGA;
  Tensor v_TGA;

  Inputs(int64_t tokens, const Heads& heads, at::ScalarType type)
      : q_THA(made(tokens, heads.queries, heads.size, type)),
        k_TGA(made(tokens, heads.keys, heads.size, type)),
        v_TGA(made(tokens, heads.keys, heads.size, type)) {}

  std::vector<Tensor> all() const { return {q_THA, k_TGA, v_TGA}; }

 private:
  static Tensor made(int64_t tokens, int64_t heads, int64_t size, at::ScalarType type) {
    return (at::randn({tokens, heads, size}, at::kDouble) * 2.0).to(type).set_requires_grad(true);
  }
};

// The formula itself, every token against every token, in fp64.
Tensor by_formula(const Inputs& in, const std::vector<int64_t>& starts, int64_t window) {
  const int64_t tokens = in.q_THA.size(0);
  const int64_t copies = in.q_THA.size(1) / in.k_TGA.size(1);
  const auto heads_first = [](const Tensor& x, int64_t times) {
    return x.to(at::kDouble).transpose(0, 1).repeat_interleave(times, 0);
  };
  const Tensor scores_HTT =
      at::bmm(heads_first(in.q_THA, 1), heads_first(in.k_TGA, copies).transpose(1, 2)) /
      std::sqrt(static_cast<double>(in.q_THA.size(2)));
  Tensor sequence_T = at::zeros({tokens}, at::kLong);
  for (size_t s = 1; s + 1 < starts.size(); ++s) sequence_T.slice(0, starts[s]).add_(1);
  const Tensor place_T = at::arange(tokens, at::kLong);
  const Tensor distance_TT = place_T.unsqueeze(1) - place_T.unsqueeze(0);
  Tensor is_seen_TT =
      (distance_TT >= 0).logical_and(sequence_T.unsqueeze(1) == sequence_T.unsqueeze(0));
  if (window > 0) is_seen_TT = is_seen_TT.logical_and(distance_TT < window);
  const Tensor weights_HTT =
      at::softmax(scores_HTT.masked_fill(is_seen_TT.logical_not(), -INFINITY), -1);
  return at::bmm(weights_HTT, heads_first(in.v_TGA, copies)).transpose(0, 1);
}

double largest_difference(const Tensor& a, const Tensor& b) {
  return (a.detach().to(at::kDouble) - b.detach().to(at::kDouble)).abs().max().item<double>();
}

class CausalAttention : public testing::Test {
 protected:
  void SetUp() override {
    at::manual_seed(3);
    choose_kernels(KernelChoice::kHost);
  }
  void TearDown() override { choose_kernels(KernelChoice::kAten); }

  static void expect_formula(const Inputs& in, const std::vector<int64_t>& starts, int64_t window,
                             double tolerance) {
    const Tensor got = causal_attention(in.q_THA, in.k_TGA, in.v_TGA, starts, window);
    const Tensor expected = by_formula(in, starts, window);
    EXPECT_LE(largest_difference(got, expected), tolerance);
    const Tensor weights = at::randn(expected.sizes(), at::kDouble);
    const auto gradients = torch::autograd::grad({(got.to(at::kDouble) * weights).sum()}, in.all());
    const auto exact = torch::autograd::grad({(expected * weights).sum()}, in.all());
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_LE(largest_difference(gradients[i], exact[i]), 4 * tolerance) << "gradient " << i;
    }
  }
};

TEST_F(CausalAttention, IsTheFormulaForAnyLengthAndItsGradient) {
  for (const int64_t tokens : {1, 2, 15, 16, 17, 127, 128, 129, 300}) {
    SCOPED_TRACE(tokens);
    expect_formula(Inputs(tokens, {4, 2, 8}, at::kDouble), {0, tokens}, 0, 1e-12);
  }
}

TEST_F(CausalAttention, IsTheFormulaForAnySharingOfKeys) {
  for (const Heads& heads : {Heads{1, 1, 4}, Heads{3, 3, 16}, Heads{9, 3, 64}, Heads{8, 1, 32}}) {
    SCOPED_TRACE(heads.queries);
    expect_formula(Inputs(70, heads, at::kDouble), {0, 70}, 0, 1e-12);
  }
}

TEST_F(CausalAttention, SequencesSeeThemselvesAlone) {
  expect_formula(Inputs(200, {4, 2, 8}, at::kDouble), {0, 1, 1, 64, 193, 200}, 0, 1e-12);
}

TEST_F(CausalAttention, AWindowCutsWhatIsTooFarBack) {
  for (const int64_t window : {1, 7, 128, 199, 200, 1000}) {
    SCOPED_TRACE(window);
    expect_formula(Inputs(270, {4, 2, 8}, at::kDouble), {0, 200, 270}, window, 1e-12);
  }
}

TEST_F(CausalAttention, LongSequencesAreCutIntoSmallerBlocks) {
  expect_formula(Inputs(1500, {4, 1, 4}, at::kDouble), {0, 1500}, 0, 1e-12);
}

TEST_F(CausalAttention, IsTheFormulaInLowerPrecision) {
  expect_formula(Inputs(150, {6, 2, 32}, at::kFloat), {0, 60, 150}, 0, 2e-5);
  expect_formula(Inputs(150, {6, 2, 32}, at::kBFloat16), {0, 60, 150}, 0, 6e-2);
}

TEST_F(CausalAttention, TakesSlicesOfALargerTensor) {
  Inputs in(90, {4, 2, 8}, at::kDouble);
  const Tensor wide = at::randn({90, 8, 8}, at::kDouble);
  const auto part = [&](int64_t begin, int64_t end) {
    return wide.slice(1, begin, end).detach().set_requires_grad(true);
  };
  in.q_THA = part(0, 4);
  in.k_TGA = part(4, 6);
  in.v_TGA = part(6, 8);
  expect_formula(in, {0, 50, 90}, 0, 1e-12);
}

TEST_F(CausalAttention, ASequenceHasTheSameBitsInEveryBatch) {
  const Inputs in(100, {4, 2, 8}, at::kFloat);
  const Tensor together = causal_attention(in.q_THA, in.k_TGA, in.v_TGA, {0, 30, 100}, 0);
  const auto cut = [](const Tensor& x) { return x.detach().slice(0, 30, 100); };
  const Tensor alone = causal_attention(cut(in.q_THA), cut(in.k_TGA), cut(in.v_TGA), {0, 70}, 0);
  EXPECT_TRUE(at::equal(together.detach().slice(0, 30), alone));
}

TEST_F(CausalAttention, ThreadsDoNotChangeTheBits) {
  const Inputs in(300, {6, 3, 16}, at::kFloat);
  const auto run = [&](int threads) {
    at::set_num_threads(threads);
    const Tensor out = causal_attention(in.q_THA, in.k_TGA, in.v_TGA, {0, 100, 300}, 0);
    auto results = torch::autograd::grad({out.square().sum()}, in.all());
    results.push_back(out.detach());
    return results;
  };
  const int before = at::get_num_threads();
  const auto one = run(1);
  const auto two = run(2);
  at::set_num_threads(before);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(at::equal(one[i], two[i])) << i;
}

TEST_F(CausalAttention, NotANumberStaysInItsSequence) {
  Inputs in(60, {4, 2, 8}, at::kFloat);
  const Tensor q = in.q_THA.detach().clone();
  q[10][0][0] = NAN;
  const Tensor out = causal_attention(q, in.k_TGA.detach(), in.v_TGA.detach(), {0, 20, 60}, 0);
  EXPECT_TRUE(out[10][0].isnan().all().item<bool>());
  EXPECT_FALSE(out.slice(0, 20).isnan().any().item<bool>());
  EXPECT_FALSE(out.slice(0, 0, 10).isnan().any().item<bool>());
}

}  // namespace
}  // namespace molora
