// Experts that are whole MLPs (model/block_experts.h): many ranks against one, from adapters
// without a zero (support/oracle.h says what is compared).
#include "multirank/oracle_cases.h"

namespace molora {
namespace {

using testing::layout_of;
using testing::layouts_of_whole_mlps;
using testing::Oracle;
using testing::OracleCase;
using testing::RunShape;
using testing::whole_mlps;

std::vector<RunShape> in_groups(std::vector<RunShape> shapes) {
  for (RunShape& shape : shapes) shape.layout.expert_ways = all_linears(ExpertWay::kGrouped);
  return shapes;
}

std::vector<RunShape> both_ways() {
  std::vector<RunShape> shapes = layouts_of_whole_mlps();
  const std::vector<RunShape> grouped = in_groups(shapes);
  shapes.insert(shapes.end(), grouped.begin(), grouped.end());
  shapes.push_back(in_groups({RunShape{}}).front());
  return shapes;
}

TEST(OracleWholeMlps, EveryLayoutBothWays) { Oracle(whole_mlps()).expect(both_ways()); }

TEST(OracleWholeMlps, AsManyExpertsAsTheTokenAsksFor) {
  Oracle(whole_mlps(RouterConfig::top_p)).expect(in_groups(layouts_of_whole_mlps()));
}

TEST(OracleWholeMlps, FrozenGateLeavesTheRouterToUp) {
  OracleCase of = whole_mlps();
  of.adapter.mutable_targets()->set_gate_proj(TargetsConfig::frozen);
  Oracle(of).expect(in_groups(layouts_of_whole_mlps()));
}

TEST(OracleWholeMlps, DownAloneReadsTheRouterOfTheMlp) {
  OracleCase of = whole_mlps();
  of.adapter.mutable_targets()->set_gate_proj(TargetsConfig::frozen);
  of.adapter.mutable_targets()->set_up_proj(TargetsConfig::frozen);
  Oracle(of).expect(in_groups(layouts_of_whole_mlps()));
}

TEST(OracleWholeMlps, Recomputed) {
  OracleCase of = whole_mlps();
  for (const auto recompute : {TrainConfig::selective, TrainConfig::full}) {
    of.recompute = recompute;
    Oracle(of).expect(in_groups({RunShape{}, layout_of({2, 2, 2}, true, ExchangeMode::kReplicate),
                                 layout_of({4, 2, 4}, false, ExchangeMode::kGather)}));
  }
}

TEST(OracleWholeMlps, FewerTokensThanRanks) {
  OracleCase of = whole_mlps();
  of.rows = testing::two_token_rows;
  of.micro_batch_size = 1;
  Oracle(of).expect(in_groups(layouts_of_whole_mlps()));
}

}  // namespace
}  // namespace molora
