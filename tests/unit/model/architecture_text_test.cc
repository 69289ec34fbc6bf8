#include "model/architecture_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace molora {
namespace {

using ::testing::HasSubstr;

Architecture qwen() {
  Architecture architecture;
  architecture.family = Family::kQwen3;
  architecture.hidden_size = 64;
  architecture.rms_norm_eps = 1e-6;
  architecture.rope.theta = 1e6;
  architecture.attention_window = {0, 0, 128};
  return architecture;
}

TEST(ArchitectureText, NamesWhatDecidesTheForwardPass) {
  const std::string text = architecture_text(qwen());
  EXPECT_THAT(text, HasSubstr("family qwen3\n"));
  EXPECT_THAT(text, HasSubstr("rms_norm_eps 1e-06\n"));
  EXPECT_THAT(text, HasSubstr("rope_theta 1000000\n"));
  EXPECT_THAT(text, HasSubstr("attention_window 0,0,128\n"));
}

TEST(ArchitectureText, EveryNumberThatDiffersIsNamed) {
  Architecture other = qwen();
  other.rope.theta = 1e4;
  other.rms_norm_eps = 1e-5;
  EXPECT_EQ(architecture_difference(architecture_text(qwen()), architecture_text(other)),
            "rms_norm_eps: 1e-06 -> 1e-05, rope_theta: 1000000 -> 10000");
  other = qwen();
  other.rope.llama3 = Rope::Llama3{8.0, 1.0, 4.0, 8192.0};
  EXPECT_EQ(architecture_difference(architecture_text(qwen()), architecture_text(other)),
            "rope_scaling: (none) -> llama3 factor 8 low 1 high 4 original 8192");
  EXPECT_EQ(architecture_difference(architecture_text(other), architecture_text(qwen())),
            "rope_scaling: llama3 factor 8 low 1 high 4 original 8192 -> (none)");
}

TEST(ArchitectureText, EqualOnesAndOldCheckpointsDifferInNothing) {
  EXPECT_EQ(architecture_difference(architecture_text(qwen()), architecture_text(qwen())), "");
  EXPECT_EQ(architecture_difference("", architecture_text(qwen())), "");
}

}  // namespace
}  // namespace molora
