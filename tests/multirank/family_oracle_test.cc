// The law for every member of the family: many ranks equal one rank (support/oracle.h), with
// experts computed densely and each on its own tokens.
#include <gtest/gtest.h>

#include "multirank/family_cases.h"

namespace molora {
namespace {

using testing::few_layouts;
using testing::Oracle;
using testing::RunShape;
using testing::SpecialCase;

class FamilyOracle : public ::testing::TestWithParam<SpecialCase> {};

TEST_P(FamilyOracle, LayoutsEqualOneRank) {
  const Oracle oracle(GetParam().of);
  oracle.expect(few_layouts());
  oracle.expect(GetParam().more_layouts);
}

TEST_P(FamilyOracle, GroupedExpertsEqualOneRank) {
  const Oracle oracle(GetParam().of);
  for (RunShape shape : few_layouts()) {
    if (!shape.layout.has_sequence_parallel) continue;  // the others go the same way without it
    shape.layout.expert_ways = all_linears(ExpertWay::kGrouped);
    oracle.expect({shape});
  }
}

TEST_P(FamilyOracle, FixedShapesEqualOneRank) {
  const Oracle oracle(GetParam().of);
  RunShape shape = testing::layout_of({4, 2, 1}, false, ExchangeMode::kRank);
  shape.layout.has_fixed_shapes = true;
  oracle.expect({shape});
}

INSTANTIATE_TEST_SUITE_P(Members, FamilyOracle, ::testing::ValuesIn(testing::family_cases()),
                         [](const auto& member) { return member.param.name; });

}  // namespace
}  // namespace molora
