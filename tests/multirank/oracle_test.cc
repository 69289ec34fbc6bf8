// Layouts against one process, on rank threads (support/oracle.h says what is compared): what runs
// each time. oracle_all_test.cc has the rest, every layout of up to eight ranks.
//
// Everywhere a GQA model with dropout, balance loss and z-loss on, packed rows, token counts that
// divide by nothing and, with more dp ranks than rows, ranks without any.
#include "multirank/oracle_cases.h"

namespace molora {
namespace {

using testing::all_layouts;
using testing::by_three;
using testing::by_two;
using testing::few_layouts;
using testing::Head;
using testing::Oracle;
using testing::OracleCase;
using testing::RunShape;
using testing::SpecialCase;

// What the comparison itself must not overlook.
Parameter slice_of_four(const std::string& name, int64_t begin) {
  return {name, at::empty({2}), {4}, {begin}, SyncGroup::kAll};
}

TEST(OracleComparison, AMissingSliceIsADifferenceWhateverComesAfterIt) {
  testing::WholeTensors whole;
  testing::WholeTensors missing;
  for (const char* name : {"a", "b"}) {
    for (const int64_t begin : {0, 2}) {
      whole.add(slice_of_four(name, begin), at::ones({2}));
      if (std::string(name) == "a" && begin == 2) continue;
      missing.add(slice_of_four(name, begin), at::ones({2}));
    }
  }
  EXPECT_EQ(testing::difference(whole, whole), 0.0);
  EXPECT_TRUE(std::isnan(testing::difference(missing, whole)));
}

TEST(OracleComparison, ReplicasThatDifferAreAFault) {
  testing::WholeTensors tensors;
  tensors.add(slice_of_four("a", 0), at::ones({2}));
  tensors.add(slice_of_four("a", 0), at::ones({2}));
  EXPECT_EQ(tensors.fault(), "");
  tensors.add(slice_of_four("a", 0), at::full({2}, 1.0 + 1e-7));
  EXPECT_EQ(tensors.fault(), "a: replicas differ");
  EXPECT_TRUE(std::isnan(testing::difference(tensors, tensors)));
}

TEST(OracleWorld1, EveryMode) { Oracle(by_two(Head::kTied)).expect(all_layouts(1, {1})); }
TEST(OracleWorld2, EveryLayout) { Oracle(by_two(Head::kUntied)).expect(all_layouts(2, {1, 2})); }
TEST(OracleWorld3, EveryLayout) { Oracle(by_three(Head::kTied)).expect(all_layouts(3, {1, 3})); }
TEST(OracleWorld4, EveryLayout) { Oracle(by_two(Head::kTied)).expect(all_layouts(4, {1, 2, 4})); }

class OracleCases : public ::testing::TestWithParam<SpecialCase> {};

TEST_P(OracleCases, FewLayouts) {
  std::vector<RunShape> shapes = few_layouts();
  shapes.insert(shapes.end(), GetParam().more_layouts.begin(), GetParam().more_layouts.end());
  Oracle(GetParam().of).expect(shapes);
}

INSTANTIATE_TEST_SUITE_P(Special, OracleCases, ::testing::ValuesIn(testing::special_cases()),
                         [](const auto& special) { return special.param.name; });

TEST(OracleModes, AnotherForEachGroup) { Oracle(OracleCase{}).expect(testing::mixed_modes()); }

// The optimizer's state whole on every rank or shared out: the same bits.
TEST(OracleModes, ShardedOptimizerHasTheSameBits) {
  const Oracle oracle{OracleCase{}};
  for (RunShape shape : few_layouts()) {
    shape.optimizer = OptimizerPlacement::kSharded;
    const auto sharded = oracle.run(shape);
    shape.optimizer = OptimizerPlacement::kReplicated;
    const auto replicated = oracle.run(shape);
    EXPECT_EQ(testing::compare(*sharded, *replicated, 0.0), "") << testing::text_of(shape);
  }
}

}  // namespace
}  // namespace molora
