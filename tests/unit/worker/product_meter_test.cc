#include "worker/product_meter.h"

#include <gtest/gtest.h>

namespace molora {
namespace {

TEST(ProductMeter, MeasuresEveryProductBothWays) {
  const std::vector<StepProduct> products = {
      {.kind = ProductKind::kForward, .rows = 8, .in = 16, .out = 24, .count = 3},
      {.kind = ProductKind::kInputGradient, .rows = 8, .in = 16, .out = 24, .count = 2}};
  ProductMeter meter(products, {});
  meter.measure_round();
  meter.measure_round();
  const auto results = meter.results();
  ASSERT_EQ(results.size(), 2U);
  for (const ProductMeter::Measured& of : results) {
    EXPECT_GT(of.seconds, 0);
    EXPECT_NEAR(of.rate() * of.seconds, 2 * 8 * 16 * 24, 1e-6);
  }
}

TEST(ProductMeter, WeighsProductsByWhatTheStepHas) {
  const ProductMeter::Measured slow{{.rows = 10, .in = 10, .out = 10, .count = 3}, 2e-3};
  const ProductMeter::Measured fast{{.rows = 10, .in = 10, .out = 10, .count = 1}, 1e-3};
  EXPECT_NEAR(weighted_rate({slow, fast}), 4 * 2000 / 7e-3, 1e-3);
}

}  // namespace
}  // namespace molora
