// Evaluation and generation of every layout against one process, on rank threads
// (support/inference_oracle.h says what is compared). Sequence parallelism is on where it can be:
// inference goes without it, on the same weights.
#include "support/inference_oracle.h"

namespace molora {
namespace {

using testing::all_layouts;
using testing::InferenceOracle;
using testing::RunShape;
using testing::text_of;

void expect_all(int world, const std::vector<int>& tps) {
  const InferenceOracle oracle;
  for (const RunShape& shape : all_layouts(world, tps)) {
    EXPECT_EQ(oracle.fault(shape), "") << text_of(shape);
  }
}

TEST(InferenceLayouts, OneRank) { expect_all(1, {1}); }
TEST(InferenceLayouts, TwoRanks) { expect_all(2, {1, 2}); }
TEST(InferenceLayouts, FourRanks) { expect_all(4, {1, 2, 4}); }

// More data ranks than work: some only help.
TEST(InferenceLayouts, EightRanks) { expect_all(8, {2}); }

}  // namespace
}  // namespace molora
