// FlashAttention of packed sequences on the fake device against a loop over the CPU's attention.
#include <algorithm>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fake_gpu.h"

namespace molora::testing {
namespace {

struct Shape {
  std::vector<int64_t> lengths;
  int64_t heads = 4;
  int64_t kv_heads = 2;
  int64_t head_dim = 16;
  int64_t window = 0;  // 0: none

  int64_t tokens() const { return std::accumulate(lengths.begin(), lengths.end(), int64_t{0}); }
};

struct Inputs {
  Tensor q, k, v;

  Inputs(const Shape& shape, at::Device device)
      : q(uniform({shape.tokens(), shape.heads, shape.head_dim}, 1, device, at::kBFloat16)),
        k(uniform({shape.tokens(), shape.kv_heads, shape.head_dim}, 2, device, at::kBFloat16)),
        v(uniform({shape.tokens(), shape.kv_heads, shape.head_dim}, 3, device, at::kBFloat16)) {
    for (Tensor* tensor : {&q, &k, &v}) tensor->requires_grad_();
  }
};

Tensor offsets(const std::vector<int64_t>& lengths, at::Device device) {
  std::vector<int> starts = {0};
  for (int64_t length : lengths) starts.push_back(starts.back() + static_cast<int>(length));
  return at::tensor(starts, at::kInt).to(device);
}

using Flash = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

Flash flash(const Shape& shape, const Inputs& in) {
  const Tensor starts = offsets(shape.lengths, kGpu);
  const int64_t longest = *std::max_element(shape.lengths.begin(), shape.lengths.end());
  std::optional<int64_t> left;
  if (shape.window > 0) left = shape.window - 1;
  return at::_flash_attention_forward(in.q, in.k, in.v, starts, starts, longest, longest, 0.0,
                                      /*is_causal=*/true, /*return_debug_mask=*/false, std::nullopt,
                                      left);
}

Tensor heads_first(const Tensor& x_SHA, int64_t copies) {
  Tensor x_HSA = x_SHA.transpose(0, 1);
  if (copies > 1) x_HSA = x_HSA.repeat_interleave(copies, 0);
  return x_HSA.unsqueeze(0);
}

// The loop of src/model/attention.cc.
Tensor loop(const Shape& shape, const Inputs& in) {
  std::vector<Tensor> parts;
  int64_t begin = 0;
  for (int64_t length : shape.lengths) {
    const auto cut = [&](const Tensor& x) { return x.slice(0, begin, begin + length); };
    const int64_t copies = shape.heads / shape.kv_heads;
    std::optional<Tensor> mask;
    if (shape.window > 0 && length > shape.window) {
      mask = at::ones({length, length}, at::kBool).tril().triu(1 - shape.window);
    }
    const Tensor out =
        at::scaled_dot_product_attention(heads_first(cut(in.q), 1), heads_first(cut(in.k), copies),
                                         heads_first(cut(in.v), copies), mask, 0.0, !mask);
    parts.push_back(out.squeeze(0).transpose(0, 1));
    begin += length;
  }
  return at::cat(parts, 0);
}

void expect_the_loop(const Shape& shape) {
  const Inputs device(shape, kGpu);
  const Inputs host(shape, at::kCPU);
  const Tensor out = std::get<0>(flash(shape, device));
  const Tensor expected = loop(shape, host);
  EXPECT_TRUE(same_bits(out, expected)) << (out.cpu() - expected).abs().max();
  const Tensor weight = uniform(expected.sizes(), 9, at::kCPU, at::kBFloat16);
  (expected * weight).sum().backward();
  (out * weight.to(kGpu)).sum().backward();
  EXPECT_TRUE(at::equal(device.q.grad().cpu(), host.q.grad()));
  EXPECT_TRUE(at::equal(device.k.grad().cpu(), host.k.grad()));
  EXPECT_TRUE(at::equal(device.v.grad().cpu(), host.v.grad()));
}

TEST(FakeTorchVarlenAttention, EqualsALoopOverSequences) { expect_the_loop({{5, 1, 12}}); }
TEST(FakeTorchVarlenAttention, TakesEmptySequences) {
  const Shape with_empty{{0, 5, 0, 3, 0}};
  const Shape without{{5, 3}};
  const Inputs in(with_empty, kGpu);
  EXPECT_TRUE(same_bits(std::get<0>(flash(with_empty, in)), std::get<0>(flash(without, in))));
}
TEST(FakeTorchVarlenAttention, TakesAsManyKeyHeadsAsHeads) { expect_the_loop({{5, 9}, 4, 4}); }
TEST(FakeTorchVarlenAttention, TakesAWindow) { expect_the_loop({{5, 1, 12, 4}, 4, 1, 8, 4}); }

TEST(FakeTorchVarlenAttention, GivesTheLogarithmsByHeadAndToken) {
  const Shape shape{{5, 3}};
  const Inputs in(shape, kGpu);
  const auto [out, lse, rng, unused, debug] = flash(shape, in);
  EXPECT_THAT(lse.sizes(), ::testing::ElementsAre(4, 8));
  EXPECT_EQ(lse.scalar_type(), at::kFloat);
  // The first token of each sequence sees itself alone: the logarithm is its own score.
  const Tensor score =
      (in.q.detach()[5].to(at::kFloat) * in.k.detach()[5].to(at::kFloat).repeat_interleave(2, 0))
          .sum(1) /
      4.0;
  EXPECT_TRUE(at::allclose(lse.select(1, 5), score, 1e-2, 1e-2));
  EXPECT_EQ(rng.numel(), 2);
  EXPECT_EQ(debug.numel(), 0);
}

TEST(FakeTorchVarlenAttention, CountsFromTheLastKey) {
  const Shape shape{{6}, 2, 2, 8};
  const Inputs in(shape, kGpu);
  const auto last = [&](const Tensor& x) { return x.detach().slice(0, 4, 6).contiguous(); };
  const Tensor out = std::get<0>(
      at::_flash_attention_forward(last(in.q), in.k.detach(), in.v.detach(), offsets({2}, kGpu),
                                   offsets({6}, kGpu), 2, 6, 0.0, true, false));
  const Tensor all = std::get<0>(flash(shape, in)).detach();
  EXPECT_TRUE(at::allclose(out.to(at::kFloat), last(all).to(at::kFloat), 1e-2, 1e-2));
}

TEST(FakeTorchVarlenAttention, DoesNotMakeTheHostWait) {
  const Shape shape{{5, 1, 12}};
  const Inputs in(shape, kGpu);
  const Tensor starts = offsets(shape.lengths, kGpu);
  const uint64_t before = host_syncs();
  std::get<0>(
      at::_flash_attention_forward(in.q, in.k, in.v, starts, starts, 12, 12, 0.0, true, false))
      .sum()
      .backward();
  EXPECT_EQ(host_syncs(), before);
}

std::string refusal(const std::function<void()>& run) {
  try {
    run();
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  }
  return "";
}

std::string refusal_of(const Tensor& q, const Tensor& k, const Tensor& starts,
                       int64_t longest = 8) {
  return refusal([&] {
    (void)at::_flash_attention_forward(q, k, k, starts, starts, longest, longest, 0.0, true, false);
  });
}

TEST(FakeTorchVarlenAttention, HasTheConditionsOfTheKernel) {
  using ::testing::HasSubstr;
  const auto q = [](int64_t heads, int64_t size, at::ScalarType type = at::kBFloat16) {
    return uniform({8, heads, size}, 1, kGpu, type);
  };
  const Tensor starts = offsets({8}, kGpu);
  EXPECT_EQ(refusal_of(q(4, 8), q(2, 8), starts), "");
  EXPECT_THAT(refusal_of(q(4, 8, at::kFloat), q(2, 8, at::kFloat), starts),
              HasSubstr("only support fp16 and bf16"));
  EXPECT_THAT(refusal_of(q(4, 8), q(2, 8, at::kHalf), starts), HasSubstr("the same dtype"));
  EXPECT_THAT(refusal_of(q(4, 12), q(2, 12), starts), HasSubstr("must be a multiple of 8"));
  EXPECT_THAT(refusal_of(q(1, 264), q(1, 264), starts), HasSubstr("at most 256"));
  EXPECT_THAT(refusal_of(q(4, 8), q(3, 8), starts), HasSubstr("must divide number of heads"));
  EXPECT_THAT(refusal_of(q(4, 16).slice(2, 0, 16, 2), q(2, 8), starts),
              HasSubstr("contiguous last dimension"));
  EXPECT_THAT(refusal_of(q(4, 8), q(2, 8), starts.to(at::kLong)),
              HasSubstr("must have dtype int32"));
  EXPECT_THAT(refusal_of(q(4, 8), q(2, 8), starts.cpu()), HasSubstr("must be on CUDA"));
  EXPECT_THAT(refusal_of(q(4, 8), q(2, 8), starts, 7),
              HasSubstr("max_q is 7, but sequence 0 has 8"));
  EXPECT_THAT(refusal_of(q(4, 8), q(2, 8), offsets({9}, kGpu)), HasSubstr("but there are 8 rows"));
  const Tensor down = at::tensor({0, 5, 3, 8}, at::kInt).to(kGpu);
  EXPECT_THAT(refusal_of(q(4, 8), q(2, 8), down), HasSubstr("goes down at 2"));
  EXPECT_THAT(refusal_of(q(4, 8), q(2, 8), starts.slice(0, 0, 1)),
              HasSubstr("batch size must be positive"));
  EXPECT_THAT(refusal([&] {
                (void)at::_flash_attention_forward(q(4, 8), q(2, 8), q(2, 8), starts, starts, 8, 8,
                                                   0.1, true, false);
              }),
              HasSubstr("without dropout"));
}

}  // namespace
}  // namespace molora::testing
