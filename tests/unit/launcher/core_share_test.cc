#include "launcher/plan/core_share.h"

#include <set>

#include <gtest/gtest.h>

#include "launcher/plan/cpu_topology.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using testing::TempFolder;

CpuList range(int begin, int end) {
  CpuList cpus;
  for (int cpu = begin; cpu < end; ++cpu) cpus.push_back(cpu);
  return cpus;
}

// `num_nodes` nodes of `num_cores` cores each, with one thread a core, or two that are numbered as
// Linux does: all first ones before all second ones.
std::vector<NumaNode> nodes_of(int num_nodes, int num_cores, int num_threads = 1) {
  std::vector<NumaNode> nodes;
  for (int node = 0; node < num_nodes; ++node) {
    nodes.emplace_back();
    for (int core = node * num_cores; core < (node + 1) * num_cores; ++core) {
      nodes.back().cores.push_back({core});
      if (num_threads == 2) nodes.back().cores.back().push_back(core + num_nodes * num_cores);
    }
  }
  return nodes;
}

std::vector<CoreShare> shares(size_t num_ranks, const CpuList& all,
                              const std::vector<NumaNode>& nodes) {
  std::vector<CoreShare> shares;
  const std::vector<CpuList> of_ranks(num_ranks, all);
  for (size_t rank = 0; rank < num_ranks; ++rank) {
    shares.push_back(core_share(of_ranks, rank, nodes));
  }
  return shares;
}

TEST(CoreShare, RanksOfOneNodeShareOutItsCores) {
  const auto of = shares(4, range(0, 8), nodes_of(1, 8));
  EXPECT_EQ(of[0].cpus, range(0, 2));
  EXPECT_EQ(of[3].cpus, range(6, 8));
  EXPECT_EQ(of[3].num_ranks, 1U);
}

TEST(CoreShare, BothThreadsOfACoreAreOfOneRank) {
  const auto of = shares(2, range(0, 8), nodes_of(1, 4, 2));
  EXPECT_EQ(of[0].cpus, (CpuList{0, 1, 4, 5}));
  EXPECT_EQ(of[1].cpus, (CpuList{2, 3, 6, 7}));
}

TEST(CoreShare, NoRankReachesAcrossNodesAndNoTwoRanksShareACpu) {
  for (const size_t num_nodes : {1U, 2U, 3U, 4U}) {
    const auto nodes = nodes_of(static_cast<int>(num_nodes), 6);
    for (size_t num_ranks = num_nodes; num_ranks <= 6 * num_nodes; ++num_ranks) {
      std::multiset<int> used;
      for (const CoreShare& share :
           shares(num_ranks, range(0, static_cast<int>(6 * num_nodes)), nodes)) {
        EXPECT_EQ(share.num_ranks, 1U);
        EXPECT_FALSE(share.cpus.empty());
        EXPECT_EQ(share.cpus.front() / 6, share.cpus.back() / 6) << num_ranks;
        used.insert(share.cpus.begin(), share.cpus.end());
      }
      EXPECT_EQ(used.size(), 6 * num_nodes);
      EXPECT_EQ(std::set<int>(used.begin(), used.end()).size(), used.size());
    }
  }
}

TEST(CoreShare, FewerRanksThanNodesHaveWholeNodes) {
  const auto of = shares(2, range(0, 16), nodes_of(4, 4));
  EXPECT_EQ(of[0].cpus, range(0, 8));
  EXPECT_EQ(of[1].cpus, range(8, 16));
  EXPECT_EQ(shares(1, range(0, 16), nodes_of(4, 4))[0].cpus, range(0, 16));
}

TEST(CoreShare, RanksThatALauncherBoundToANodeShareOutThatNode) {
  const std::vector<CpuList> cpus = {range(0, 4), range(0, 4), range(4, 8), range(4, 8)};
  const std::vector<NumaNode> second = {nodes_of(2, 4)[1]};
  EXPECT_EQ(core_share(cpus, 2, second).cpus, range(4, 6));
  EXPECT_EQ(core_share(cpus, 3, second).cpus, range(6, 8));
}

TEST(CoreShare, WhatIsARanksOwnStays) {
  const std::vector<CpuList> cpus = {{0}, {1}};
  const CoreShare share = core_share(cpus, 1, {{{{1}}}});
  EXPECT_EQ(share.cpus, CpuList{1});
  EXPECT_EQ(share.num_ranks, 1U);
}

TEST(CoreShare, WhatOverlapsInPartStays) {
  const std::vector<CpuList> cpus = {range(0, 4), range(2, 6)};
  const CoreShare share = core_share(cpus, 0, nodes_of(1, 4));
  EXPECT_EQ(share.cpus, range(0, 4));
  EXPECT_EQ(share.num_ranks, 2U);
}

TEST(CoreShare, MoreRanksThanCoresShareAll) {
  for (const CoreShare& share : shares(5, range(0, 2), nodes_of(1, 2))) {
    EXPECT_EQ(share.cpus, range(0, 2));
    EXPECT_EQ(share.num_ranks, 5U);
  }
}

TEST(CpuTopology, ListsAreWrittenAsTheyAreRead) {
  for (const char* text : {"", "0", "0-3", "0-3,8", "1,3,5-6"}) {
    EXPECT_EQ(cpu_list_text(cpus_of_list(text)), text);
  }
  EXPECT_EQ(cpus_of_list("4,5-7"), range(4, 8));
  EXPECT_TRUE(cpus_of_list("0-x").empty());
}

TEST(CpuTopology, CoresAreFoundByTheirThreads) {
  const TempFolder root;
  root.write("sys/devices/system/node/node0/cpulist", "0-1,4-5\n");
  root.write("sys/devices/system/node/node1/cpulist", "2-3,6-7\n");
  for (int cpu = 0; cpu < 8; ++cpu) {
    root.write(
        "sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list",
        cpu_list_text({cpu % 4, cpu % 4 + 4}) + "\n");
  }
  const auto nodes = numa_nodes(root.path(), {0, 1, 2, 4, 6});
  ASSERT_EQ(nodes.size(), 2U);
  EXPECT_EQ(nodes[0].cores, (std::vector<CpuList>{{0, 4}, {1}}));
  EXPECT_EQ(nodes[1].cores, (std::vector<CpuList>{{2, 6}}));
}

TEST(CpuTopology, WhatTheKernelDoesNotTellIsOneNodeOfCores) {
  const TempFolder root;
  const auto nodes = numa_nodes(root.path(), {1, 5});
  ASSERT_EQ(nodes.size(), 1U);
  EXPECT_EQ(nodes[0].cores, (std::vector<CpuList>{{1}, {5}}));
}

}  // namespace
}  // namespace molora
