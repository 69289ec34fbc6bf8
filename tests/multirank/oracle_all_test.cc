// Every layout of 1, 2, 3, 4, 6 and 8 ranks with tied and with untied head, and every special case
// on more layouts: minutes. oracle_test.cc has what runs each time.
#include "multirank/oracle_cases.h"

namespace molora {
namespace {

using testing::all_layouts;
using testing::by_three;
using testing::by_two;
using testing::Head;
using testing::Oracle;
using testing::RunShape;
using testing::SpecialCase;

class OracleEveryLayout : public ::testing::TestWithParam<std::tuple<int, Head>> {};

TEST_P(OracleEveryLayout, EqualsOneRank) {
  const auto [world, head] = GetParam();
  if (world % 3 == 0) {
    Oracle(by_three(head)).expect(all_layouts(world, {1, 3, 6}));
  } else {
    Oracle(by_two(head)).expect(all_layouts(world, {1, 2, 4, 8}));
  }
}

INSTANTIATE_TEST_SUITE_P(Worlds, OracleEveryLayout,
                         ::testing::Combine(::testing::Values(1, 2, 3, 4, 6, 8),
                                            ::testing::Values(Head::kTied, Head::kUntied)),
                         [](const auto& of) {
                           return "ranks" + std::to_string(std::get<0>(of.param)) +
                                  (std::get<1>(of.param) == Head::kTied ? "_tied" : "_untied");
                         });

class OracleEveryCase : public ::testing::TestWithParam<SpecialCase> {};

TEST_P(OracleEveryCase, EqualsOneRank) {
  std::vector<RunShape> shapes = testing::sample_layouts();
  const std::vector<RunShape> eight = all_layouts(8, {8});
  shapes.insert(shapes.end(), eight.begin(), eight.end());
  Oracle(GetParam().of).expect(shapes);
}

INSTANTIATE_TEST_SUITE_P(Special, OracleEveryCase, ::testing::ValuesIn(testing::special_cases()),
                         [](const auto& special) { return special.param.name; });

}  // namespace
}  // namespace molora
