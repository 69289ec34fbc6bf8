#include "config/group_exchange.h"

#include <gtest/gtest.h>

namespace molora {
namespace {

TEST(GroupExchange, IsTheCommonOneWhereNothingElseIsSaid) {
  const std::pair<ParallelConfig::Exchange, GroupExchangeConfig::GroupExchange> pairs[] = {
      {ParallelConfig::auto_, GroupExchangeConfig::auto_},
      {ParallelConfig::tokens, GroupExchangeConfig::tokens},
      {ParallelConfig::rank, GroupExchangeConfig::rank},
      {ParallelConfig::gather, GroupExchangeConfig::gather},
      {ParallelConfig::replicate, GroupExchangeConfig::replicate}};
  for (const auto& [common, expected] : pairs) {
    ParallelConfig parallel;
    parallel.set_exchange(common);
    for (const AskedExchange& group : asked_exchanges(parallel, TargetsConfig())) {
      EXPECT_EQ(group.mode, expected) << group.group;
    }
  }
}

TEST(GroupExchange, IsTheGroupsOwnWhereItHasOne) {
  ParallelConfig parallel;
  parallel.set_exchange(ParallelConfig::gather);
  GroupExchangeConfig& own = *parallel.mutable_exchange_by_group();
  own.set_qkv(GroupExchangeConfig::tokens);
  own.set_o(GroupExchangeConfig::auto_);
  own.set_down(GroupExchangeConfig::rank);
  const auto asked = asked_exchanges(parallel, TargetsConfig());
  EXPECT_EQ(asked[0].mode, GroupExchangeConfig::tokens);
  EXPECT_EQ(asked[1].mode, GroupExchangeConfig::auto_);
  EXPECT_EQ(asked[2].mode, GroupExchangeConfig::gather);
  EXPECT_EQ(asked[2].own, GroupExchangeConfig::inherit);
  EXPECT_EQ(asked[3].mode, GroupExchangeConfig::rank);
}

TEST(GroupExchange, KnowsWhichGroupsHaveExperts) {
  const auto groups = [](void (TargetsConfig::*set)(TargetsConfig::Kind)) {
    TargetsConfig targets;
    targets.set_gate_proj(TargetsConfig::lora);
    targets.set_up_proj(TargetsConfig::lora);
    targets.set_down_proj(TargetsConfig::lora);
    (targets.*set)(TargetsConfig::experts);
    std::string found;
    for (const AskedExchange& group : asked_exchanges(ParallelConfig(), targets)) {
      if (group.has_experts) found += group.group;
    }
    return found;
  };
  EXPECT_EQ(groups(&TargetsConfig::set_q_proj), "qkv");
  EXPECT_EQ(groups(&TargetsConfig::set_k_proj), "qkv");
  EXPECT_EQ(groups(&TargetsConfig::set_v_proj), "qkv");
  EXPECT_EQ(groups(&TargetsConfig::set_o_proj), "o");
  EXPECT_EQ(groups(&TargetsConfig::set_gate_proj), "gate_up");
  EXPECT_EQ(groups(&TargetsConfig::set_up_proj), "gate_up");
  EXPECT_EQ(groups(&TargetsConfig::set_down_proj), "down");
}

}  // namespace
}  // namespace molora
