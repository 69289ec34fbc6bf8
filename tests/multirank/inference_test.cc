// Evaluation and generation of every layout against one process, on rank threads
// (support/inference_oracle.h says what is compared). Sequence parallelism is on where it can be:
// inference goes without it, on the same weights.
#include "multirank/oracle_cases.h"
#include "support/inference_oracle.h"

namespace molora {
namespace {

using testing::all_layouts;
using testing::InferenceOracle;
using testing::layout_of;
using testing::RunShape;
using testing::text_of;

void expect(const std::vector<RunShape>& shapes) {
  const InferenceOracle oracle;
  for (const RunShape& shape : shapes) EXPECT_EQ(oracle.fault(shape), "") << text_of(shape);
}

TEST(InferenceLayouts, OneRank) { expect(all_layouts(1, {1})); }
TEST(InferenceLayouts, TwoRanks) { expect(all_layouts(2, {1, 2})); }
TEST(InferenceLayouts, FourRanks) { expect(testing::few_layouts()); }

// More data ranks than work: some only help.
TEST(InferenceLayouts, EightRanks) {
  expect({layout_of({8, 2, 8}, true, ExchangeMode::kTokens),
          layout_of({8, 2, 1}, false, ExchangeMode::kReplicate)});
}

TEST(InferenceLayoutsAll, FourRanks) { expect(all_layouts(4, {1, 2, 4})); }
TEST(InferenceLayoutsAll, EightRanks) { expect(all_layouts(8, {2})); }

}  // namespace
}  // namespace molora
