#include "generate/sampling.h"

#include <cmath>
#include <map>
#include <vector>

#include <gtest/gtest.h>

namespace molora {
namespace {

std::map<int32_t, int> draw(const std::vector<float>& logits, const SamplingOptions& options,
                            int count) {
  std::map<int32_t, int> seen;
  for (int i = 0; i < count; ++i) ++seen[choose_token(logits, options, 0, i)];
  return seen;
}

TEST(Sampling, GreedyTakesTheLargestAndTheLowestIdAmongEquals) {
  const std::vector<float> logits = {1.0f, 5.0f, 5.0f, -2.0f};
  EXPECT_EQ(choose_token(logits, {}, 0, 0), 1);
}

TEST(Sampling, DrawsByProbability) {
  const std::vector<float> logits = {std::log(0.7f), std::log(0.2f), std::log(0.1f)};
  const auto seen = draw(logits, {.temperature = 1.0, .seed = 3}, 20000);
  EXPECT_NEAR(seen.at(0) / 20000.0, 0.7, 0.02);
  EXPECT_NEAR(seen.at(1) / 20000.0, 0.2, 0.02);
  EXPECT_NEAR(seen.at(2) / 20000.0, 0.1, 0.02);
}

TEST(Sampling, TopKAndTopPCutTheTail) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.15f),
                                     std::log(0.05f)};
  EXPECT_EQ(draw(logits, {.temperature = 1.0, .top_k = 2}, 2000).size(), 2u);
  EXPECT_EQ(draw(logits, {.temperature = 1.0, .top_p = 0.75}, 2000).size(), 2u);
  EXPECT_EQ(draw(logits, {.temperature = 1.0, .top_p = 0.01}, 2000).size(), 1u);
  EXPECT_EQ(draw(logits, {.temperature = 1.0, .top_k = 100}, 2000).size(), 4u);
}

TEST(Sampling, LowTemperatureIsGreedy) {
  const auto seen = draw({0.0f, 0.1f}, {.temperature = 1e-3}, 500);
  EXPECT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen.count(1), 1u);
}

TEST(Sampling, DependsOnSeedSequenceAndPosition) {
  const std::vector<float> logits(1000, 0.0f);
  const SamplingOptions options{.temperature = 1.0, .seed = 7};
  const int32_t token = choose_token(logits, options, 2, 5);
  EXPECT_EQ(choose_token(logits, options, 2, 5), token);
  EXPECT_NE(choose_token(logits, options, 3, 5), token);
  EXPECT_NE(choose_token(logits, options, 2, 6), token);
  EXPECT_NE(choose_token(logits, {.temperature = 1.0, .seed = 8}, 2, 5), token);
}

}  // namespace
}  // namespace molora
