#include "model/input_products.h"

#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

namespace molora {
namespace {

Tensor trained(at::IntArrayRef shape, at::ScalarType type = at::kDouble) {
  return at::randn(shape, type).set_requires_grad(true);
}

// The same products one by one, by LibTorch's own operators.
InputProducts one_by_one(const Tensor& x_TD, const std::vector<FrozenLinear>& frozen,
                         const std::vector<Tensor>& trained_RD) {
  InputProducts products;
  for (const FrozenLinear& linear : frozen) {
    products.frozen_TO.push_back(at::linear(x_TD, linear.weight_OD, linear.bias_O));
  }
  for (const Tensor& matrix : trained_RD) {
    products.trained_TR.push_back(at::mm(x_TD.to(matrix.scalar_type()), matrix.t()));
  }
  return products;
}

// A sum that gives every element of every product another gradient.
Tensor weighted_sum(const InputProducts& products) {
  Tensor sum = at::zeros({}, at::kDouble);
  double factor = 1.0;
  for (const auto* list : {&products.frozen_TO, &products.trained_TR}) {
    for (const Tensor& product : *list) {
      const Tensor weights = at::arange(product.numel(), at::kDouble).view(product.sizes());
      sum = sum + ((weights * factor + 0.5).sin() * product).sum();
      factor += 0.7;
    }
  }
  return sum;
}

class InputProductsOfTokens : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { at::manual_seed(5); }
};

TEST_P(InputProductsOfTokens, AreThoseOfEachMatrixWithTheSameGradients) {
  const Tensor x = trained({GetParam(), 12});
  const std::vector<FrozenLinear> frozen = {
      {at::randn({7, 12}, at::kDouble), at::randn({7}, at::kDouble)},
      {at::randn({9, 12}, at::kDouble), {}}};
  const std::vector<Tensor> matrices = {trained({6, 12}), trained({3, 12}), trained({1, 12})};
  const std::vector<Tensor> wanted = {x, matrices[0], matrices[1], matrices[2]};
  const InputProducts got = input_products(x, frozen, matrices);
  const InputProducts expected = one_by_one(x, frozen, matrices);
  for (size_t i = 0; i < frozen.size(); ++i) {
    EXPECT_TRUE(at::allclose(got.frozen_TO[i], expected.frozen_TO[i], 1e-13, 1e-13));
  }
  for (size_t i = 0; i < matrices.size(); ++i) {
    EXPECT_TRUE(at::allclose(got.trained_TR[i], expected.trained_TR[i], 1e-13, 1e-13));
  }
  const auto gradients = torch::autograd::grad({weighted_sum(got)}, wanted);
  const auto exact = torch::autograd::grad({weighted_sum(expected)}, wanted);
  for (size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_EQ(gradients[i].sizes(), wanted[i].sizes());
    EXPECT_TRUE(at::allclose(gradients[i], exact[i], 1e-12, 1e-12)) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Tokens, InputProductsOfTokens, testing::Values(0, 1, 5, 33));

TEST(InputProducts, ProductsThatNobodyUsesGetNoGradient) {
  const Tensor x = trained({4, 6});
  const Tensor used = trained({2, 6});
  const Tensor unused = trained({3, 6});
  const Tensor wide = trained({2, 6});
  const InputProducts products =
      input_products(x, {{at::randn({5, 6}, at::kDouble), {}}}, {used, unused, wide});
  products.trained_TR[0].sum().backward();
  EXPECT_TRUE(at::allclose(x.grad(), used.detach().sum(0).expand({4, 6})));
  EXPECT_TRUE(at::allclose(used.grad(), x.detach().sum(0).expand({2, 6})));
  // In the product with the used one, so zero rather than nothing.
  EXPECT_EQ(unused.grad().count_nonzero().item<int64_t>(), 0);
}

TEST(InputProducts, AnInputWithoutGradientGetsNone) {
  const Tensor x = at::randn({4, 6}, at::kDouble);
  const Tensor matrix = trained({2, 6});
  const InputProducts products =
      input_products(x, {{at::randn({5, 6}, at::kDouble), {}}}, {matrix});
  products.trained_TR[0].sum().backward();
  EXPECT_FALSE(x.grad().defined());
  EXPECT_TRUE(matrix.grad().defined());
}

TEST(InputProducts, FrozenLinearsAloneKeepNothing) {
  const Tensor x = trained({4, 6});
  Tensor kept = x * 2.0;
  const FrozenLinear frozen{at::randn({5, 6}, at::kDouble), {}};
  const Tensor alone = input_products(kept, {frozen}, {}).frozen_TO.front();
  const auto holders = kept.use_count();
  const Tensor with_trained = input_products(kept, {frozen}, {trained({2, 6})}).frozen_TO.front();
  EXPECT_GT(kept.use_count(), holders);
  // The first call left no more behind than the test's own name for it.
  EXPECT_EQ(holders, 1U);
}

TEST(InputProducts, AnOutputMayBeAddedToInPlace) {
  const Tensor x = trained({4, 6});
  const Tensor b = trained({2, 5});
  const Tensor a = trained({2, 6});
  const FrozenLinear frozen{at::randn({5, 6}, at::kDouble), {}};
  InputProducts products = input_products(x, {frozen}, {a});
  products.frozen_TO[0].addmm_(products.trained_TR[0], b);
  const Tensor plain = at::linear(x, frozen.weight_OD) + at::mm(at::mm(x, a.t()), b);
  const auto gradients = torch::autograd::grad({products.frozen_TO[0].square().sum()}, {x, a, b});
  const auto exact = torch::autograd::grad({plain.square().sum()}, {x, a, b});
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(at::allclose(gradients[i], exact[i], 1e-12, 1e-12));
}

TEST(InputProducts, AWiderMatrixGivesAWiderProduct) {
  const Tensor x = at::randn({8, 16}).to(at::kBFloat16).set_requires_grad(true);
  const Tensor narrow = trained({4, 16}, at::kBFloat16);
  const Tensor router = trained({3, 16}, at::kFloat);
  const InputProducts products =
      input_products(x, {{at::randn({5, 16}).to(at::kBFloat16), {}}}, {narrow, router});
  EXPECT_EQ(products.trained_TR[0].scalar_type(), at::kBFloat16);
  EXPECT_EQ(products.trained_TR[1].scalar_type(), at::kFloat);
  EXPECT_TRUE(
      at::equal(products.trained_TR[1], at::mm(x.detach().to(at::kFloat), router.detach().t())));
  products.trained_TR[1].sum().backward();
  EXPECT_EQ(x.grad().scalar_type(), at::kBFloat16);
  EXPECT_EQ(router.grad().scalar_type(), at::kFloat);
  EXPECT_TRUE(
      at::allclose(router.grad(), x.detach().to(at::kFloat).sum(0).expand({3, 16}), 1e-5, 1e-5));
}

}  // namespace
}  // namespace molora
