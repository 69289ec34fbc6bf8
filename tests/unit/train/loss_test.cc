#include "train/loss.h"

#include <gtest/gtest.h>

#include "support/gradcheck.h"
#include "support/loaded_model.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace molora {
namespace {

class NextTokenLoss : public ::testing::Test {
 protected:
  NextTokenLoss() { testing::write_tiny_model(folder_.path(), testing::tiny_config()); }
  testing::TempFolder folder_;
};

TEST_F(NextTokenLoss, EqualsCrossEntropyForAnyChunk) {
  const testing::LoadedModel loaded(folder_.path(), testing::frozen_adapters(), at::kDouble);
  const Tensor hidden = at::randn({9, 16}, at::kDouble);
  const Tensor targets = at::randint(37, {9}, at::kLong);
  const Tensor expected =
      at::cross_entropy_loss(loaded.model().logits(hidden), targets, {}, at::Reduction::Sum);
  for (const int64_t chunk : {1, 2, 4, 9, 100}) {
    const TokenLoss loss = next_token_loss(loaded.model(), hidden, targets, chunk);
    EXPECT_NEAR(loss.sum.item<double>(), expected.item<double>(), 1e-10);
    EXPECT_NEAR(loss.nll_N.sum().item<double>(), expected.item<double>(), 1e-10);
    EXPECT_TRUE(loss.is_top_N.equal(loaded.model().logits(hidden).argmax(1) == targets));
  }
}

TEST_F(NextTokenLoss, GradientsEqualDifferences) {
  const testing::LoadedModel loaded(folder_.path(), testing::frozen_adapters(), at::kDouble);
  const Tensor targets = at::randint(37, {5}, at::kLong);
  testing::expect_gradients(
      [&](const std::vector<Tensor>& in) {
        return next_token_loss(loaded.model(), in[0], targets, 2).sum * 0.5;
      },
      {at::randn({5, 16}, at::kDouble).set_requires_grad(true)}, 1e-6);
}

TEST_F(NextTokenLoss, NoTokensGiveZeroAndStayConnected) {
  const testing::LoadedModel loaded(folder_.path(), testing::frozen_adapters(), at::kDouble);
  const Tensor hidden = at::zeros({0, 16}, at::kDouble).set_requires_grad(true);
  const TokenLoss loss = next_token_loss(loaded.model(), hidden, at::zeros(0, at::kLong));
  EXPECT_EQ(loss.sum.item<double>(), 0.0);
  loss.sum.backward();
  EXPECT_TRUE(hidden.grad().defined());
}

}  // namespace
}  // namespace molora
