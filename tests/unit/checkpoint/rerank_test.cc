#include "checkpoint/rerank.h"

#include <gtest/gtest.h>

#include "tensor/philox_tensor.h"

namespace molora {
namespace {

Tensor uniform(at::IntArrayRef shape, uint64_t key, at::ScalarType type = at::kDouble) {
  Tensor tensor = at::empty(shape, type);
  fill_uniform(tensor, 1.0, key, 0);
  return tensor;
}

// [out, in]
Tensor product(const Tensor& lora_A, const Tensor& lora_B) {
  return lora_B.to(at::kDouble).t().matmul(lora_A.to(at::kDouble));
}

double length_of(const Tensor& tensor) { return tensor.square().sum().sqrt().item<double>(); }

// A pair of six ranks that uses three.
struct Deficient {
  Tensor lora_A = uniform({6, 3}, 1).matmul(uniform({3, 20}, 2));
  Tensor lora_B = uniform({6, 11}, 3);
};

TEST(Rerank, LosesNothingOfAPairThatUsesFewer) {
  const Deficient of;
  const RerankedPair pair = rerank(of.lora_A, of.lora_B, 0.5, 4);
  EXPECT_EQ(pair.num_used, 3);
  EXPECT_EQ(pair.ranks_needed, 3);
  EXPECT_LT(pair.lost_share, 1e-13);
  EXPECT_EQ(pair.lora_A.sizes(), (at::IntArrayRef{4, 20}));
  EXPECT_EQ(pair.lora_B.sizes(), (at::IntArrayRef{4, 11}));
  const Tensor whole = product(of.lora_A, of.lora_B) * 0.5;
  EXPECT_LT(length_of(product(pair.lora_A, pair.lora_B) - whole), 1e-13 * length_of(whole));
}

TEST(Rerank, UnusedRowsAreZeroInBoth) {
  const Deficient of;
  const RerankedPair pair = rerank(of.lora_A, of.lora_B, 1.0, 5);
  EXPECT_EQ(pair.num_used, 3);
  EXPECT_EQ(length_of(pair.lora_A.slice(0, 3)) + length_of(pair.lora_B.slice(0, 3)), 0.0);
}

// Eckart & Young: the loss is the norm of the singular values that are left out.
TEST(Rerank, IsTheBestOfItsRanks) {
  const Tensor lora_A = uniform({5, 20}, 1);
  const Tensor lora_B = uniform({5, 11}, 2);
  const Tensor whole = product(lora_A, lora_B);
  const Tensor values = std::get<1>(at::linalg_svd(whole, false));
  const RerankedPair pair = rerank(lora_A, lora_B, 1.0, 2);
  const double lost = length_of(values.slice(0, 2)) / length_of(values);
  EXPECT_GT(lost, 0.1);
  EXPECT_NEAR(pair.lost_share, lost, 1e-12);
  EXPECT_NEAR(length_of(product(pair.lora_A, pair.lora_B) - whole) / length_of(whole), lost, 1e-12);
  EXPECT_EQ(pair.ranks_needed, 5);
}

TEST(Rerank, SharesEachDirectionsNormBetweenTheFactors) {
  const RerankedPair pair = rerank(uniform({4, 9}, 1), 1e4 * uniform({4, 7}, 2), 1.0, 3);
  for (int64_t row = 0; row < 3; ++row) {
    EXPECT_NEAR(length_of(pair.lora_A[row]) / length_of(pair.lora_B[row]), 1.0, 1e-12);
  }
}

TEST(Rerank, OfAPairThatIsZeroUsesNothing) {
  const RerankedPair pair = rerank(uniform({4, 9}, 1), at::zeros({4, 7}, at::kDouble), 1.0, 3);
  EXPECT_EQ(pair.num_used, 0);
  EXPECT_EQ(pair.ranks_needed, 0);
  EXPECT_EQ(pair.lost_share, 0.0);
}

// fp32 tensors have rounding noise in directions that they do not use.
TEST(Rerank, TakesTheNoiseOfTheStoredTypeForNothing) {
  const Tensor lora_A = uniform({6, 20}, 1, at::kFloat);
  Tensor lora_B = uniform({6, 11}, 3, at::kFloat);
  lora_B.slice(0, 3).mul_(1e-9);
  const RerankedPair single = rerank(lora_A, lora_B, 1.0, 4);
  EXPECT_EQ(single.num_used, 3);
  EXPECT_EQ(single.ranks_needed, 3);
  const RerankedPair as_double = rerank(lora_A.to(at::kDouble), lora_B.to(at::kDouble), 1.0, 4);
  EXPECT_EQ(as_double.num_used, 4);
  EXPECT_EQ(as_double.ranks_needed, 6);
}

TEST(Rerank, WorksWithMoreRanksThanChannels) {
  const Tensor lora_A = uniform({6, 4}, 1);
  const Tensor lora_B = uniform({6, 3}, 2);
  const RerankedPair pair = rerank(lora_A, lora_B, 2.0, 5);
  EXPECT_EQ(pair.num_used, 3);
  EXPECT_EQ(pair.lost_share, 0.0);
  EXPECT_LT(length_of(product(pair.lora_A, pair.lora_B) - 2.0 * product(lora_A, lora_B)), 1e-12);
}

TEST(Rerank, GivesTheSameBitsAgain) {
  const Tensor lora_A = uniform({16, 300}, 1, at::kFloat);
  const Tensor lora_B = uniform({16, 200}, 2, at::kFloat);
  const RerankedPair first = rerank(lora_A, lora_B, 1.0, 8);
  const RerankedPair second = rerank(lora_A.clone(), lora_B.clone(), 1.0, 8);
  EXPECT_TRUE(first.lora_A.equal(second.lora_A));
  EXPECT_TRUE(first.lora_B.equal(second.lora_B));
}

}  // namespace
}  // namespace molora
