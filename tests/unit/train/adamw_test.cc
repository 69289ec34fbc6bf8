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

}  // namespace
}  // namespace molora
