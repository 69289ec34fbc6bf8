// Experts computed in groups against one process that computes them densely (support/oracle.h says
// what is compared).
#include "multirank/oracle_cases.h"

namespace molora {
namespace {

using testing::layout_of;
using testing::Oracle;
using testing::OracleCase;
using testing::RunShape;

std::vector<RunShape> grouped(std::vector<RunShape> shapes) {
  for (RunShape& shape : shapes) shape.layout.expert_ways = all_linears(ExpertWay::kGrouped);
  return shapes;
}

// One rank, and each mode that groups, with every axis split.
std::vector<RunShape> few_grouped() {
  return grouped({RunShape{}, layout_of({4, 2, 2}, false, ExchangeMode::kReplicate),
                  layout_of({4, 2, 4}, false, ExchangeMode::kGather),
                  layout_of({4, 2, 4}, true, ExchangeMode::kTokens)});
}

TEST(OracleGrouped, OneRank) { Oracle(OracleCase{}).expect(grouped({RunShape{}})); }

TEST(OracleGrouped, LayoutsOfEachMode) {
  Oracle(OracleCase{}).expect(grouped(testing::sample_layouts()));
}

// Linears that read one input, some of them grouped, each group in another mode.
TEST(OracleGrouped, BesideDenseOnes) {
  std::vector<RunShape> shapes = testing::mixed_modes();
  shapes.push_back(RunShape{});
  for (RunShape& shape : shapes) {
    for (const LinearKind kind : {LinearKind::kQ, LinearKind::kUp, LinearKind::kDown}) {
      shape.layout.expert_ways.of(kind) = ExpertWay::kGrouped;
    }
  }
  Oracle(OracleCase{}).expect(shapes);
}

class OracleGroupedCases : public ::testing::TestWithParam<testing::SpecialCase> {};

TEST_P(OracleGroupedCases, FewLayouts) { Oracle(GetParam().of).expect(few_grouped()); }

// What changes the pairs, what records them, and what is done to their gradients; not the models.
std::vector<testing::SpecialCase> cases_of_pairs() {
  std::vector<testing::SpecialCase> cases = testing::cases_of_routing();
  for (const testing::SpecialCase& special : testing::special_cases()) {
    for (const char* name : {"FewerTokensThanTpRanks", "OneRowForManyDataRanks", "SinglePrecision",
                             "RecomputedLayers", "FrozenExperts"}) {
      if (special.name == name) cases.push_back(special);
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Special, OracleGroupedCases, ::testing::ValuesIn(cases_of_pairs()),
                         [](const auto& special) { return special.param.name; });

}  // namespace
}  // namespace molora
