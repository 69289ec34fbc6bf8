#include "base/nearest_name.h"

#include <gtest/gtest.h>

namespace molora {
namespace {

const std::vector<std::string> kNames = {"lora_rank", "lora_alpha", "learning_rate", "seed"};

TEST(NearestName, FindsATypo) {
  EXPECT_EQ(nearest_name("lora_rnak", kNames), "lora_rank");
  EXPECT_EQ(nearest_name("learning-rate", kNames), "learning_rate");
  EXPECT_EQ(nearest_name("SEED", kNames), "seed");
}

TEST(NearestName, SaysNothingWhenNothingIsNear) {
  EXPECT_EQ(nearest_name("activation_checkpointing", kNames), "");
  EXPECT_EQ(nearest_name("x", {}), "");
  EXPECT_EQ(nearest_name("", {"o"}), "");
  EXPECT_EQ(nearest_name("x", {"o"}), "");
  EXPECT_EQ(nearest_name("xy", {"o"}), "");
}

TEST(NearestName, IgnoresJunkOfAnyLength) {
  EXPECT_EQ(nearest_name(std::string(1'000'000, 'a'), kNames), "");
}

}  // namespace
}  // namespace molora
