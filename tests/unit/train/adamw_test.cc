#include "train/adamw.h"

#include <cmath>

#include <gtest/gtest.h>

namespace molora {
namespace {

// Two updates by the formulas of the paper, in scalars.
TEST(AdamW, EqualsItsFormulas) {
  TrainConfig config;
  config.set_weight_decay(0.1);
  config.set_adam_beta1(0.8);
  config.set_adam_beta2(0.9);
  const std::vector<Parameter> parameters = {{"p", at::full(1, 2.0, at::kDouble)}};
  AdamW adamw(parameters, config);
  double p = 2.0;
  double m = 0.0;
  double v = 0.0;
  for (int t = 1; t <= 2; ++t) {
    const double g = 0.5 * t;
    const double lr = 0.01 * t;
    adamw.update({at::full(1, g, at::kDouble)}, lr);
    p -= lr * 0.1 * p;
    m = 0.8 * m + 0.2 * g;
    v = 0.9 * v + 0.1 * g * g;
    const double m_hat = m / (1 - std::pow(0.8, t));
    const double v_hat = v / (1 - std::pow(0.9, t));
    p -= lr * m_hat / (std::sqrt(v_hat) + config.adam_eps());
    EXPECT_NEAR(parameters[0].value.item<double>(), p, 1e-14) << "update " << t;
  }
  EXPECT_EQ(adamw.num_updates(), 2);
}

// LoRA+: as if B had an optimizer of its own with that learning rate, weight decay included.
TEST(AdamW, BHasALearningRateOfItsOwn) {
  TrainConfig config;
  config.set_weight_decay(0.1);
  config.set_lora_plus_ratio(16.0);
  std::vector<Parameter> together = {{"a", at::randn({5}, at::kDouble)},
                                     {"b", at::randn({2, 3}, at::kDouble)}};
  together[1].is_lora_B = true;
  const std::vector<Parameter> a = {{"a", together[0].value.clone()}};
  const std::vector<Parameter> b = {{"b", together[1].value.clone()}};
  AdamW adamw(together, config);
  config.set_lora_plus_ratio(1.0);
  AdamW of_a(a, config);
  AdamW of_b(b, config);
  for (int step = 1; step <= 3; ++step) {
    const Tensor gradient_a = at::randn({5}, at::kDouble);
    const Tensor gradient_b = at::randn({2, 3}, at::kDouble);
    adamw.update({gradient_a, gradient_b}, 0.01 * step, 0.5);
    of_a.update({gradient_a}, 0.01 * step, 0.5);
    of_b.update({gradient_b}, 0.16 * step, 0.5);
  }
  EXPECT_TRUE(together[0].value.equal(a[0].value));
  EXPECT_TRUE(at::allclose(together[1].value, b[0].value, 1e-14, 1e-14));
  EXPECT_EQ(adamw.num_updates(), 3);
}

TEST(AdamW, StateThatIsRestoredGoesOnWithTheSameBits) {
  const TrainConfig config;
  const std::vector<Parameter> a = {{"p", at::randn({5})}};
  const std::vector<Parameter> b = {{"p", a[0].value.clone()}};
  const auto gradient = [](int i) { return at::full({5}, 0.1 * i) + at::arange(5) * 0.01; };
  AdamW whole(a, config);
  for (int i = 0; i < 6; ++i) whole.update({gradient(i)}, 1e-2);

  AdamW first(b, config);
  for (int i = 0; i < 3; ++i) first.update({gradient(i)}, 1e-2);
  AdamW second(b, config);
  second.set_num_updates(first.num_updates());
  second.first_moments()[0].copy_(first.first_moments()[0]);
  second.second_moments()[0].copy_(first.second_moments()[0]);
  for (int i = 3; i < 6; ++i) second.update({gradient(i)}, 1e-2);
  EXPECT_TRUE(b[0].value.equal(a[0].value));
}

// The rows of a tensor of six that are not frozen.
Tensor rows_1_2_4(const Tensor& whole) { return whole.index_select(0, at::tensor({1, 2, 4})); }

class AdamWWithFrozenRows : public ::testing::Test {
 protected:
  AdamWWithFrozenRows() {
    config_.set_weight_decay(0.1);
    whole_ = {{"p", at::randn({6, 5})}};
    others_ = {{"p", rows_1_2_4(whole_[0].value)}};
    for (int i = 0; i < 6; ++i) gradients_.push_back(at::randn({6, 5}));
  }
  TrainConfig config_;
  std::vector<Parameter> whole_;
  std::vector<Parameter> others_;
  std::vector<Tensor> gradients_;
};

// As an expert that is frozen when a run goes on: its moments are not zero.
TEST_F(AdamWWithFrozenRows, TheyKeepValuesAndMomentsToTheBit) {
  AdamW before(whole_, config_);
  for (int i = 0; i < 3; ++i) before.update({gradients_[static_cast<size_t>(i)]}, 1e-2);
  whole_[0].frozen_rows = {0, 3, 5};
  AdamW after(whole_, config_);
  after.set_num_updates(3);
  after.first_moments()[0].copy_(before.first_moments()[0]);
  after.second_moments()[0].copy_(before.second_moments()[0]);
  const Tensor value = whole_[0].value.clone();
  for (int i = 3; i < 6; ++i) after.update({gradients_[static_cast<size_t>(i)]}, 1e-2);
  const auto frozen = [](const Tensor& of) { return of.index_select(0, at::tensor({0, 3, 5})); };
  EXPECT_TRUE(frozen(whole_[0].value).equal(frozen(value)));
  EXPECT_TRUE(frozen(after.first_moments()[0]).equal(frozen(before.first_moments()[0])));
  EXPECT_TRUE(frozen(after.second_moments()[0]).equal(frozen(before.second_moments()[0])));
  EXPECT_GT(frozen(after.second_moments()[0]).min().item<float>(), 0.0f);
}

TEST_F(AdamWWithFrozenRows, TheOtherRowsAreWhatTheyWouldBeAlone) {
  whole_[0].frozen_rows = {0, 3, 5};
  AdamW together(whole_, config_);
  AdamW alone(others_, config_);
  for (const Tensor& gradient : gradients_) {
    together.update({gradient}, 1e-2);
    alone.update({rows_1_2_4(gradient)}, 1e-2);
  }
  EXPECT_TRUE(rows_1_2_4(whole_[0].value).equal(others_[0].value));
  EXPECT_TRUE(rows_1_2_4(together.first_moments()[0]).equal(alone.first_moments()[0]));
  EXPECT_TRUE(rows_1_2_4(together.second_moments()[0]).equal(alone.second_moments()[0]));
}

TEST_F(AdamWWithFrozenRows, ATensorMayBeFrozenWhole) {
  whole_[0].frozen_rows = {0, 1, 2, 3, 4, 5};
  AdamW adamw(whole_, config_);
  const Tensor value = whole_[0].value.clone();
  adamw.update({gradients_[0]}, 1e-2);
  EXPECT_TRUE(whole_[0].value.equal(value));
}

}  // namespace
}  // namespace molora
