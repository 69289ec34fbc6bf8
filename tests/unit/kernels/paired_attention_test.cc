#include "kernels/paired_attention.h"

#include <cmath>
#include <cstdint>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "kernels/causal_attention.h"
#include "kernels/host/instruction_set.h"
#include "kernels/kernel_choice.h"

namespace molora {
namespace {

struct Case {
  std::vector<int64_t> starts;
  int64_t heads;
  int64_t key_heads;
  int64_t head_size;
  int64_t window;

  int64_t tokens() const { return starts.back(); }
};

// Numbers of bf16, held in `type`: the same for all of them.
struct Inputs {
  Tensor q_THA;
  Tensor k_TGA;
  Tensor v_TGA;
  Tensor d_out_THA;

  Inputs(const Case& of, at::ScalarType type)
      : q_THA(made(of, of.heads, type, 1)),
        k_TGA(made(of, of.key_heads, type, 2)),
        v_TGA(made(of, of.key_heads, type, 3)),
        d_out_THA(made(of, of.heads, type, 4).detach()) {}

  static Tensor made(const Case& of, int64_t heads, at::ScalarType type, uint64_t seed) {
    at::manual_seed(seed);
    return at::randn({of.tokens(), heads, of.head_size}, at::kBFloat16)
        .to(type)
        .set_requires_grad(true);
  }
};

// The output, and the gradients of q, k and v.
std::vector<Tensor> run(const Case& of, const Inputs& in) {
  const Tensor out = causal_attention(in.q_THA, in.k_TGA, in.v_TGA, of.starts, of.window);
  std::vector<Tensor> results = {out.detach()};
  for (const Tensor& gradient :
       torch::autograd::grad({out}, {in.q_THA, in.k_TGA, in.v_TGA}, {in.d_out_THA})) {
    results.push_back(gradient);
  }
  return results;
}

std::vector<Tensor> run_bf16(const Case& of) { return run(of, Inputs(of, at::kBFloat16)); }

// The largest difference, in units of the root mean square of what is expected (of 1, where that is
// 0 everywhere: the gradient of a weight that is always 1).
double difference(const Tensor& got, const Tensor& expected) {
  const Tensor exact = expected.to(at::kDouble);
  const double size = std::sqrt(exact.square().mean().item<double>());
  return (got.to(at::kDouble) - exact).abs().max().item<double>() / (size > 0.0 ? size : 1.0);
}

class PairedAttention : public testing::Test {
 protected:
  void SetUp() override {
    choose_kernels(KernelChoice::kHost);
    if (!can_pair_attention(at::empty({1, 1, 16}, at::kBFloat16))) {
      GTEST_SKIP() << "this processor has no AVX512-BF16";
    }
  }
  void TearDown() override { choose_kernels(KernelChoice::kAten); }

  // As good as the products of whole matrices, which round to bf16 in the same places.
  static void expect_right(const Case& of, at::ScalarType of_exact = at::kDouble) {
    const std::vector<Tensor> exact = run(of, Inputs(of, of_exact));
    const std::vector<Tensor> paired = run_bf16(of);
    limit_instruction_set(InstructionSet::kAvx2);
    const std::vector<Tensor> whole = run_bf16(of);
    limit_instruction_set(InstructionSet::kAvx512);
    const char* const names[] = {"output", "d_q", "d_k", "d_v"};
    for (size_t i = 0; i < exact.size(); ++i) {
      EXPECT_LE(difference(paired[i], exact[i]), 1.3 * difference(whole[i], exact[i]) + 0.004)
          << names[i];
    }
  }
};

TEST_F(PairedAttention, AnyLength) {
  for (const int64_t tokens : {1, 2, 3, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 129, 300}) {
    SCOPED_TRACE(tokens);
    expect_right({{0, tokens}, 3, 1, 64, 0});
  }
}

TEST_F(PairedAttention, AnySizeAndSharingOfHeads) {
  for (const int64_t head_size : {16, 32, 48, 64, 80, 96, 112, 128, 144, 256}) {
    SCOPED_TRACE(head_size);
    expect_right({{0, 75}, 4, 2, head_size, 0});
  }
  expect_right({{0, 75}, 9, 3, 32, 0});
  expect_right({{0, 75}, 5, 5, 32, 0});
  expect_right({{0, 75}, 8, 1, 32, 0});
}

TEST_F(PairedAttention, SequencesSeeThemselvesAlone) {
  expect_right({{0, 1, 1, 64, 193, 200}, 4, 2, 32, 0});
}

TEST_F(PairedAttention, AnyWindow) {
  for (const int64_t window : {1, 2, 7, 15, 16, 17, 63, 64, 65, 128, 199, 200, 1000}) {
    SCOPED_TRACE(window);
    expect_right({{0, 200, 270}, 4, 2, 32, window});
  }
}

// Where a block of all queries would have more scores than the cache holds.
TEST_F(PairedAttention, BlocksOfALongSequenceAreSmaller) {
  expect_right({{0, 5000}, 1, 1, 16, 0}, at::kFloat);
}

TEST_F(PairedAttention, TakesSlicesOfALargerTensor) {
  const Case of = {{0, 50, 90}, 4, 2, 16, 0};
  Inputs in(of, at::kBFloat16);
  const std::vector<Tensor> apart = run(of, in);
  const Tensor fused = at::cat({in.q_THA, in.k_TGA, in.v_TGA}, 1).detach();
  const auto part = [&](int64_t begin, int64_t end) {
    return fused.slice(1, begin, end).set_requires_grad(true);
  };
  in.q_THA = part(0, 4);
  in.k_TGA = part(4, 6);
  in.v_TGA = part(6, 8);
  in.d_out_THA = in.d_out_THA.transpose(1, 2).contiguous().transpose(1, 2);
  const std::vector<Tensor> sliced = run(of, in);
  for (size_t i = 0; i < apart.size(); ++i) EXPECT_TRUE(at::equal(apart[i], sliced[i])) << i;
}

TEST_F(PairedAttention, ASequenceHasTheSameBitsInEveryBatch) {
  const Case both = {{0, 37, 160}, 4, 2, 32, 0};
  const Inputs in(both, at::kBFloat16);
  const std::vector<Tensor> together = run(both, in);
  const Case second = {{0, 123}, 4, 2, 32, 0};
  Inputs cut(second, at::kBFloat16);
  const auto part = [](const Tensor& x) {
    return x.detach().slice(0, 37, 160).set_requires_grad(true);
  };
  cut.q_THA = part(in.q_THA);
  cut.k_TGA = part(in.k_TGA);
  cut.v_TGA = part(in.v_TGA);
  cut.d_out_THA = in.d_out_THA.slice(0, 37, 160);
  const std::vector<Tensor> alone = run(second, cut);
  for (size_t i = 0; i < alone.size(); ++i) {
    EXPECT_TRUE(at::equal(together[i].slice(0, 37, 160), alone[i])) << i;
  }
}

TEST_F(PairedAttention, ThreadsDoNotChangeTheBits) {
  const Case of = {{0, 100, 130, 300}, 6, 3, 16, 0};
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const std::vector<Tensor> one = run_bf16(of);
  at::set_num_threads(4);
  const std::vector<Tensor> four = run_bf16(of);
  at::set_num_threads(before);
  for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(at::equal(one[i], four[i])) << i;
}

TEST_F(PairedAttention, NotANumberStaysWithItsToken) {
  const Case of = {{0, 20, 60}, 4, 2, 16, 0};
  Inputs in(of, at::kBFloat16);
  const Tensor q = in.q_THA.detach().clone();
  q[10][0][0] = NAN;
  in.q_THA = q.set_requires_grad(true);
  const Tensor out = run(of, in)[0];
  EXPECT_TRUE(out[10][0].isnan().all().item<bool>());
  EXPECT_EQ(out.isnan().sum().item<int64_t>(), 16);
}

}  // namespace
}  // namespace molora
