// Rows of pairs against index_select and index_add, in every type; gradients by autograd of these.
#include "kernels/pair_rows.h"

#include <utility>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

struct Case {
  ExpertRows rows;
  TokenPairs pairs;
  Tensor x_TC;
  Tensor weights_P;
};

// Tokens that use some, all or none of the experts.
Case make_case(int64_t tokens, int64_t columns, int64_t experts, at::ScalarType type) {
  at::manual_seed(static_cast<uint64_t>(tokens + columns));
  const Tensor used_TE = at::rand({tokens, experts}) < 0.4;
  const Tensor numbers_E = at::arange(experts, at::kLong);
  Case made;
  made.rows = rows_by_expert(at::where(used_TE, numbers_E, -1), experts);
  made.pairs = pairs_of_tokens(made.rows, tokens);
  made.x_TC = at::randn({tokens, columns}, at::kDouble).to(type);
  made.weights_P =
      at::randn({made.rows.num_pairs()}, type == at::kDouble ? at::kDouble : at::kFloat);
  return made;
}

double tolerance_of(at::ScalarType type) {
  return type == at::kDouble ? 1e-13 : type == at::kFloat ? 1e-5 : 0.05;
}

Tensor summed_by_operators(const Tensor& rows_PC, const Tensor& weights_P, const Case& of) {
  const Tensor weighed = rows_PC.to(at::kDouble) * weights_P.to(at::kDouble).unsqueeze(1);
  return at::zeros({of.x_TC.size(0), rows_PC.size(1)}, at::kDouble)
      .index_add(0, of.rows.tokens_P, weighed);
}

void expect_near(const Tensor& got, const Tensor& expected, at::ScalarType type) {
  ASSERT_EQ(got.sizes(), expected.sizes());
  if (got.numel() == 0) return;
  EXPECT_LE((got.to(at::kDouble) - expected.to(at::kDouble)).abs().max().item<double>(),
            tolerance_of(type) * std::max(1.0, expected.abs().max().item<double>()));
}

class PairRows : public ::testing::TestWithParam<at::ScalarType> {};

TEST_P(PairRows, AreTheTokensOwn) {
  for (const int64_t columns : {1, 7, 128, 300}) {
    const Case of = make_case(13, columns, 5, GetParam());
    Tensor x = of.x_TC.clone().requires_grad_();
    const Tensor rows = spread_to_pairs(x, of.pairs);
    EXPECT_TRUE(rows.equal(of.x_TC.index_select(0, of.rows.tokens_P)));
    const Tensor d_rows = at::randn_like(rows);
    rows.backward(d_rows);
    expect_near(x.grad(), summed_by_operators(d_rows, at::ones({rows.size(0)}, at::kDouble), of),
                GetParam());
  }
}

TEST_P(PairRows, SumAtTheirTokens) {
  for (const int64_t columns : {1, 7, 128, 300}) {
    const Case of = make_case(17, columns, 4, GetParam());
    Tensor rows = at::randn({of.rows.num_pairs(), columns}, at::kDouble).to(GetParam());
    Tensor weights = of.weights_P.clone();
    rows.requires_grad_();
    weights.requires_grad_();
    const Tensor sums = sum_over_pairs(rows, weights, of.pairs);
    Tensor wide_rows = rows.detach().to(at::kDouble).requires_grad_();
    Tensor wide_weights = weights.detach().to(at::kDouble).requires_grad_();
    const Tensor expected = summed_by_operators(wide_rows, wide_weights, of);
    expect_near(sums.detach(), expected.detach(), GetParam());
    const Tensor d_sums = at::randn_like(sums);
    sums.backward(d_sums);
    expected.backward(d_sums.to(at::kDouble));
    expect_near(rows.grad(), wide_rows.grad(), GetParam());
    expect_near(weights.grad(), wide_weights.grad(), GetParam());
  }
}

INSTANTIATE_TEST_SUITE_P(Types, PairRows,
                         ::testing::Values(at::kFloat, at::kDouble, at::kBFloat16));

TEST(PairRowsOfNobody, AreNoneAndSumToZero) {
  const ExpertRows rows = rows_by_expert(at::full({3, 2}, -1, at::kLong), 4);
  const TokenPairs pairs = pairs_of_tokens(rows, 3);
  EXPECT_EQ(spread_to_pairs(at::ones({3, 5}), pairs).sizes(), (at::IntArrayRef{0, 5}));
  EXPECT_TRUE(sum_over_pairs(at::ones({0, 5}), at::ones({0}), pairs).equal(at::zeros({3, 5})));
  const TokenPairs none = pairs_of_tokens(rows_by_expert(at::empty({0, 2}, at::kLong), 4), 0);
  EXPECT_EQ(sum_over_pairs(at::ones({0, 5}), at::ones({0}), none).sizes(), (at::IntArrayRef{0, 5}));
}

TEST(PairRowsOfThreads, HaveTheSameBits) {
  const Case of = make_case(301, 130, 6, at::kFloat);
  const Tensor rows = at::randn({of.rows.num_pairs(), 130});
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const Tensor one = sum_over_pairs(rows, of.weights_P, of.pairs);
  at::set_num_threads(3);
  EXPECT_TRUE(sum_over_pairs(rows, of.weights_P, of.pairs).equal(one));
  at::set_num_threads(before);
}

TEST(PairRowsOfOthers, AreRefused) {
  const Case of = make_case(5, 3, 2, at::kFloat);
  EXPECT_THROW_WITH(spread_to_pairs(at::ones({6, 3}), of.pairs), InternalError, "tokens");
  EXPECT_THROW_WITH(sum_over_pairs(at::ones({99, 3}), of.weights_P, of.pairs), InternalError,
                    "rows of the pairs");
}

}  // namespace
}  // namespace molora
