// Operators of the fake device against the CPU, bit for bit.
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "fake_gpu.h"

namespace molora::testing {
namespace {

struct Case {
  const char* name;
  std::function<Tensor(at::Device, at::ScalarType)> run;
};

at::TensorOptions on(at::Device device, at::ScalarType type = at::kLong) {
  return at::TensorOptions(type).device(device);
}

Tensor x(at::Device d, at::ScalarType t) { return uniform({6, 8}, 1, d, t); }
Tensor y(at::Device d, at::ScalarType t) { return uniform({6, 8}, 2, d, t); }

std::vector<Case> arithmetic() {
  return {
      {"add", [](auto d, auto t) { return x(d, t) + y(d, t); }},
      {"mul by number", [](auto d, auto t) { return x(d, t) * 0.3; }},
      {"mul by CPU scalar", [](auto d, auto t) { return x(d, t) * at::scalar_tensor(0.3); }},
      {"compare", [](auto d, auto t) { return x(d, t) > y(d, t); }},
      {"where", [](auto d, auto t) { return at::where(x(d, t) > 0, x(d, t), 0.5); }},
      {"silu", [](auto d, auto t) { return at::silu(x(d, t)); }},
      {"gelu", [](auto d, auto t) { return at::gelu(x(d, t), "tanh"); }},
      {"rsqrt", [](auto d, auto t) { return x(d, t).square().mean(-1, true).add(1e-6).rsqrt(); }},
      {"exp", [](auto d, auto t) { return x(d, t).exp().log1p().tanh().sigmoid(); }},
      {"addcmul", [](auto d, auto t) { return x(d, t).addcmul(y(d, t), y(d, t), 0.5); }},
      {"lerp", [](auto d, auto t) { return x(d, t).lerp(y(d, t), 0.1); }},
      {"clamp", [](auto d, auto t) { return x(d, t).clamp(-0.3, 0.4); }},
      {"to double", [](auto d, auto t) { return x(d, t).to(at::kDouble); }},
      {"to bfloat16", [](auto d, auto t) { return x(d, t).to(at::kBFloat16); }},
      {"isfinite", [](auto d, auto t) { return x(d, t).isfinite().all(); }},
  };
}

std::vector<Case> reductions() {
  return {
      {"sum", [](auto d, auto t) { return x(d, t).sum(1); }},
      {"sum in double", [](auto d, auto t) { return x(d, t).sum(0, false, at::kDouble); }},
      {"mean", [](auto d, auto t) { return x(d, t).mean(); }},
      {"max", [](auto d, auto t) { return std::get<1>(x(d, t).max(1)); }},
      {"argmax", [](auto d, auto t) { return x(d, t).argmax(-1); }},
      {"softmax", [](auto d, auto t) { return x(d, t).softmax(-1); }},
      {"softmax in float", [](auto d, auto t) { return x(d, t).softmax(-1, at::kFloat); }},
      {"log_softmax", [](auto d, auto t) { return x(d, t).log_softmax(-1); }},
      {"logsumexp", [](auto d, auto t) { return x(d, t).logsumexp(-1); }},
      {"norm", [](auto d, auto t) { return x(d, t).norm(); }},
      {"cumsum", [](auto d, auto t) { return x(d, t).cumsum(0); }},
      {"sort", [](auto d, auto t) { return std::get<0>(x(d, t).sort(1, true)); }},
      {"stable argsort", [](auto d, auto t) { return std::get<1>(x(d, t).sort(true, 1, true)); }},
      {"topk", [](auto d, auto t) { return std::get<1>(x(d, t).topk(3, 1)); }},
      {"layer_norm", [](auto d, auto t) { return at::layer_norm(x(d, t), {8}); }},
      {"rms_norm", [](auto d, auto t) { return at::rms_norm(x(d, t), {8}); }},
  };
}

std::vector<Case> products() {
  return {
      {"mm", [](auto d, auto t) { return x(d, t).mm(y(d, t).t()); }},
      {"addmm",
       [](auto d, auto t) { return at::addmm(uniform({6}, 3, d, t), x(d, t), y(d, t).t()); }},
      {"bmm",
       [](auto d, auto t) {
         return x(d, t).view({2, 3, 8}).bmm(y(d, t).view({2, 8, 3}));
       }},
      {"linear",
       [](auto d, auto t) { return at::linear(x(d, t), y(d, t), uniform({6}, 3, d, t)); }},
      {"matmul",
       [](auto d, auto t) {
         return x(d, t).view({1, 6, 8}).matmul(y(d, t).t());
       }},
      {"einsum",
       [](auto d, auto t) {
         return at::einsum("ij,kj->ki", {x(d, t), y(d, t)});
       }},
      {"attention",
       [](auto d, auto t) {
         const Tensor q = uniform({1, 2, 7, 8}, 4, d, t);
         return at::scaled_dot_product_attention(q, q * 2, q + 1, {}, 0.0, true);
       }},
      {"attention with a mask",
       [](auto d, auto t) {
         const Tensor q = uniform({1, 2, 7, 8}, 4, d, t);
         const Tensor mask = at::ones({7, 7}, on(d, at::kBool)).tril();
         return at::scaled_dot_product_attention(q, q * 2, q + 1, mask);
       }},
      {"attention without the fused kernel",
       [](auto d, auto t) {
         const Tensor q = uniform({1, 2, 7, 8}, 4, d, t).transpose(2, 3);
         return at::scaled_dot_product_attention(q, q * 2, q + 1);
       }},
  };
}

std::vector<Case> indexing() {
  return {
      {"index_select",
       [](auto d, auto t) {
         return x(d, t).index_select(0, indices({5, 0, 5}, d));
       }},
      {"index",
       [](auto d, auto t) {
         return x(d, t).index({indices({5, 0}, d), indices({1, 7}, d)});
       }},
      {"index by mask", [](auto d, auto t) { return x(d, t).index({x(d, t) > 0}); }},
      {"index_put_",
       [](auto d, auto t) {
         Tensor out = x(d, t);
         return out.index_put_({indices({5, 0, 5}, d)}, y(d, t).slice(0, 0, 3), true);
       }},
      {"index_add_",
       [](auto d, auto t) {
         return x(d, t).index_add_(0, indices({5, 0, 5}, d), y(d, t).slice(0, 0, 3));
       }},
      {"gather",
       [](auto d, auto t) {
         return x(d, t).gather(1, indices({3, 2}, d).view({2, 1}));
       }},
      {"scatter",
       [](auto d, auto t) {
         return at::zeros_like(x(d, t)).scatter(1, std::get<1>(y(d, t).sort(1)), x(d, t));
       }},
      {"scatter_add",
       [](auto d, auto t) {
         return x(d, t).scatter_add(1, indices({1, 1, 0, 2}, d).view({2, 2}), y(d, t));
       }},
      {"masked_fill", [](auto d, auto t) { return x(d, t).masked_fill(x(d, t) > 0, -1.0); }},
      {"masked_select", [](auto d, auto t) { return x(d, t).masked_select(x(d, t) > 0); }},
      {"nonzero", [](auto d, auto t) { return (x(d, t) > 0).nonzero(); }},
      {"embedding",
       [](auto d, auto t) {
         return at::embedding(x(d, t), indices({3, 3, 1}, d));
       }},
      {"one_hot",
       [](auto d, auto) {
         return at::one_hot(indices({3, 3, 1}, d), 5);
       }},
      {"bincount",
       [](auto d, auto) {
         return indices({3, 3, 1}, d).bincount({}, 6);
       }},
      {"unique",
       [](auto d, auto) {
         return std::get<0>(at::_unique(indices({3, 3, 1}, d)));
       }},
      {"searchsorted",
       [](auto d, auto t) {
         return at::searchsorted(std::get<0>(x(d, t).flatten().sort()), y(d, t).flatten());
       }},
      {"repeat_interleave", [](auto d, auto t) { return x(d, t).repeat_interleave(3, 0); }},
      {"repeat_interleave by tensor",
       [](auto d, auto t) {
         return x(d, t).repeat_interleave(indices({1, 0, 2, 0, 1, 1}, d), 0);
       }},
  };
}

std::vector<Case> shapes() {
  return {
      {"cat",
       [](auto d, auto t) {
         return at::cat({x(d, t), y(d, t)}, 1);
       }},
      {"stack",
       [](auto d, auto t) {
         return at::stack({x(d, t), y(d, t)});
       }},
      {"split", [](auto d, auto t) { return x(d, t).split(2)[1]; }},
      {"chunk", [](auto d, auto t) { return x(d, t).chunk(3, 1)[2]; }},
      {"transpose",
       [](auto d, auto t) {
         return x(d, t).view({2, 3, 8}).transpose(0, 2).contiguous();
       }},
      {"strided slice", [](auto d, auto t) { return x(d, t).slice(1, 1, 8, 3); }},
      {"expand",
       [](auto d, auto t) {
         return x(d, t).unsqueeze(1).expand({6, 3, 8});
       }},
      {"reshape of a transpose",
       [](auto d, auto t) {
         return x(d, t).t().reshape({4, 12});
       }},
      {"flip", [](auto d, auto t) { return x(d, t).flip(0).roll(2, 1); }},
      {"pad",
       [](auto d, auto t) {
         return at::constant_pad_nd(x(d, t), {0, 2, 1, 0});
       }},
      {"view as bytes", [](auto d, auto t) { return x(d, t).view(at::kByte); }},
      {"arange", [](auto d, auto) { return at::arange(3, 30, 4, on(d)); }},
      {"zeros",
       [](auto d, auto t) {
         return at::zeros({3, 2}, on(d, t));
       }},
      {"full",
       [](auto d, auto t) {
         return at::full({3, 2}, 2.5, on(d, t));
       }},
      {"eye", [](auto d, auto t) { return at::eye(4, on(d, t)); }},
      {"tril", [](auto d, auto t) { return x(d, t).tril(); }},
      {"empty", [](auto d, auto t) { return x(d, t).slice(0, 0, 0).mm(y(d, t).t()); }},
  };
}

void compare(const std::vector<Case>& cases, at::ScalarType type) {
  for (const Case& one : cases) {
    SCOPED_TRACE(std::string(one.name) + " of " + c10::toString(type));
    const Tensor expected = one.run(at::kCPU, type);
    const Tensor got = one.run(kGpu, type);
    EXPECT_EQ(got.device(), kGpu);
    EXPECT_EQ(got.strides(), expected.strides());
    EXPECT_TRUE(same_bits(got, expected)) << got << "\nfor\n" << expected;
  }
}

class FakeTorchOperators : public ::testing::TestWithParam<at::ScalarType> {};

TEST_P(FakeTorchOperators, ArithmeticHasTheBitsOfTheCpu) { compare(arithmetic(), GetParam()); }
TEST_P(FakeTorchOperators, ReductionsHaveTheBitsOfTheCpu) { compare(reductions(), GetParam()); }
TEST_P(FakeTorchOperators, ProductsHaveTheBitsOfTheCpu) { compare(products(), GetParam()); }
TEST_P(FakeTorchOperators, IndexingHasTheBitsOfTheCpu) { compare(indexing(), GetParam()); }
TEST_P(FakeTorchOperators, ShapesHaveTheBitsOfTheCpu) { compare(shapes(), GetParam()); }

INSTANTIATE_TEST_SUITE_P(Types, FakeTorchOperators,
                         ::testing::Values(at::kFloat, at::kDouble, at::kBFloat16),
                         [](const auto& of_type) {
                           return std::string(c10::toString(of_type.param));
                         });

TEST(FakeTorchOperatorsOfLists, ForeachWritesEachTensor) {
  const auto run = [](at::Device d) {
    const std::vector<Tensor> list = {uniform({5}, 1, d), uniform({2, 3}, 2, d)};
    at::_foreach_mul_(list, 3.0);
    at::_foreach_add_(list, list, 0.5);
    return list;
  };
  const auto expected = run(at::kCPU);
  const auto got = run(kGpu);
  EXPECT_TRUE(same_bits(got[0], expected[0]));
  EXPECT_TRUE(same_bits(got[1], expected[1]));
}

TEST(FakeTorchOperatorsOfLists, GroupedProductOfBfloat16) {
  const auto run = [](at::Device d) {
    const Tensor ends = at::tensor({5, 5, 16}, at::kInt).to(d);
    return at::_grouped_mm(uniform({16, 16}, 1, d, at::kBFloat16),
                           uniform({3, 16, 8}, 2, d, at::kBFloat16), ends);
  };
  EXPECT_TRUE(same_bits(run(kGpu), run(at::kCPU)));
}

}  // namespace
}  // namespace molora::testing
