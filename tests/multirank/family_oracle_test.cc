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

std::vector<RunShape> grouped(std::vector<RunShape> shapes) {
  for (RunShape& shape : shapes) shape.layout.expert_ways = all_linears(ExpertWay::kGrouped);
  return shapes;
}

class FamilyOracle : public ::testing::TestWithParam<SpecialCase> {};
class FamilyOracleAll : public FamilyOracle {};  // slow

TEST_P(FamilyOracle, LayoutsEqualOneRank) {
  const Oracle oracle(GetParam().of);
  oracle.expect(testing::fewest_layouts());
  oracle.expect(grouped({testing::layout_of({4, 2, 4}, true, ExchangeMode::kTokens),
                         testing::layout_of({4, 2, 1}, true, ExchangeMode::kRank)}));
  RunShape fixed = testing::layout_of({4, 2, 1}, false, ExchangeMode::kRank);
  fixed.layout.has_fixed_shapes = true;
  oracle.expect({fixed});
}

TEST_P(FamilyOracleAll, LayoutsEqualOneRank) {
  const Oracle oracle(GetParam().of);
  oracle.expect(few_layouts());
  oracle.expect(grouped(few_layouts()));
}

const auto name_of = [](const auto& member) { return member.param.name; };
INSTANTIATE_TEST_SUITE_P(Members, FamilyOracle, ::testing::ValuesIn(testing::family_cases()),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Members, FamilyOracleAll, ::testing::ValuesIn(testing::family_cases()),
                         name_of);

}  // namespace
}  // namespace molora
