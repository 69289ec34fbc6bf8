#include "tensor/philox_tensor.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "base/philox.h"

namespace molora {
namespace {

TEST(FillUniform, SliceEqualsThePartOfTheWhole) {
  Tensor whole = at::empty({100}, at::kDouble);
  Tensor slice = at::empty({30}, at::kDouble);
  fill_uniform(whole, 0.5, 99, 0);
  fill_uniform(slice, 0.5, 99, 41);
  EXPECT_TRUE(whole.slice(0, 41, 71).equal(slice));
}

// Runs of the same configuration start from these numbers for ever.
TEST(FillUniform, ElementsAreTheWordsOfTheStreamInOrder) {
  for (const uint64_t first : {uint64_t{0}, uint64_t{3}, uint64_t{1} << 34}) {
    Tensor x = at::empty({23}, at::kDouble);
    fill_uniform(x, 0.7, 99, first);
    for (int64_t i = 0; i < x.numel(); ++i) {
      const uint64_t index = first + static_cast<uint64_t>(i);
      const uint64_t block = index / 4;
      const uint32_t word = philox_4x32_10(
          99, {static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), 0, 0})[index % 4];
      EXPECT_EQ(x[i].item<double>(), (2.0 * philox_unit(word) - 1.0) * 0.7) << index;
    }
  }
}

TEST(FillNormal, SliceEqualsThePartOfTheWhole) {
  Tensor whole = at::empty({100}, at::kDouble);
  Tensor slice = at::empty({30}, at::kDouble);
  fill_normal(whole, 0.5, 99, 0);
  for (const int64_t begin : {40, 41, 42, 43}) {
    fill_normal(slice, 0.5, 99, static_cast<uint64_t>(begin));
    EXPECT_TRUE(whole.slice(0, begin, begin + 30).equal(slice)) << begin;
  }
}

// Moments up to the fourth, and the share beyond two deviations; neighbours are not correlated.
TEST(FillNormal, HasTheMomentsOfTheDistribution) {
  constexpr int64_t kCount = 200000;
  Tensor x = at::empty({kCount}, at::kDouble);
  fill_normal(x, 3.0, 7, 0);
  EXPECT_TRUE(x.isfinite().all().item<bool>());
  const Tensor z = x / 3.0;
  EXPECT_NEAR(z.mean().item<double>(), 0.0, 0.01);
  EXPECT_NEAR(z.square().mean().item<double>(), 1.0, 0.015);
  EXPECT_NEAR(z.pow(3).mean().item<double>(), 0.0, 0.03);
  EXPECT_NEAR(z.pow(4).mean().item<double>(), 3.0, 0.1);
  EXPECT_NEAR(z.abs().gt(2.0).to(at::kDouble).mean().item<double>(), 0.0455, 0.002);
  EXPECT_NEAR((z.slice(0, 0, kCount - 1) * z.slice(0, 1)).mean().item<double>(), 0.0, 0.01);
}

TEST(FillUniform, HasTheMomentsOfTheDistribution) {
  Tensor x = at::empty({100000}, at::kDouble);
  fill_uniform(x, 2.0, 7, 0);
  EXPECT_LE(x.abs().max().item<double>(), 2.0);
  EXPECT_NEAR(x.mean().item<double>(), 0.0, 0.02);
  EXPECT_NEAR(x.var().item<double>(), 4.0 / 3.0, 0.02);
}

TEST(FillUniform, DoesNotDependOnThreads) {
  Tensor one = at::empty({50000}, at::kFloat);
  Tensor two = at::empty({50000}, at::kFloat);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  fill_uniform(one, 1.0, 3, 0);
  at::set_num_threads(4);
  fill_uniform(two, 1.0, 3, 0);
  at::set_num_threads(threads);
  EXPECT_TRUE(one.equal(two));
}

TEST(DropoutMask, DependsOnTheTokensPlaceNotOnTheBatch) {
  const Tensor sample = at::tensor({5, 5, 9}, at::kLong);
  const Tensor position = at::tensor({0, 1, 0}, at::kLong);
  const Tensor all = dropout_mask(sample, position, {0, 7}, {0.4, 11}, at::kFloat);
  const Tensor last =
      dropout_mask(sample.slice(0, 2), position.slice(0, 2), {0, 7}, {0.4, 11}, at::kFloat);
  EXPECT_TRUE(all[2].equal(last[0]));
  EXPECT_FALSE(all[0].equal(all[1]));
}

TEST(DropoutMask, ASliceOfTheChannelsIsCutFromTheWhole) {
  const Tensor sample = at::arange(3, at::kLong);
  const Tensor position = at::arange(3, at::kLong);
  const Tensor all = dropout_mask(sample, position, {0, 23}, {0.4, 11}, at::kFloat);
  for (const auto& [begin, end] : {std::pair(0, 6), std::pair(5, 9), std::pair(8, 23)}) {
    EXPECT_TRUE(dropout_mask(sample, position, {begin, end}, {0.4, 11}, at::kFloat)
                    .equal(all.slice(1, begin, end)));
  }
}

TEST(DropoutMask, HasTheRateAndKeepsTheMean) {
  const Tensor sample = at::arange(1000, at::kLong);
  const Tensor position = at::zeros(1000, at::kLong);
  const Tensor mask = dropout_mask(sample, position, {0, 101}, {0.25, 1}, at::kDouble);
  EXPECT_NEAR((mask == 0).to(at::kDouble).mean().item<double>(), 0.25, 0.01);
  EXPECT_NEAR(mask.mean().item<double>(), 1.0, 0.01);
}

TEST(DropoutMask, ZeroRateKeepsEverything) {
  const Tensor mask = dropout_mask(at::zeros(3, at::kLong), at::zeros(3, at::kLong), {0, 5},
                                   {0.0, 1}, at::kBFloat16);
  EXPECT_TRUE(mask.to(at::kFloat).equal(at::ones({3, 5})));
}

TEST(DropoutMask, NoTokensGiveAnEmptyMask) {
  const Tensor none = at::zeros(0, at::kLong);
  EXPECT_EQ(dropout_mask(none, none, {0, 5}, {0.5, 1}, at::kFloat).sizes(),
            (at::IntArrayRef{0, 5}));
}

}  // namespace
}  // namespace molora
