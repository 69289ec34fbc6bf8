#include "launcher/plan/slurm_allocation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

using ::testing::ElementsAre;
using Nodes = std::vector<SlurmNode>;

TEST(SlurmNodeList, NamesAndRangesAreExpanded) {
  EXPECT_THAT(expand_node_list("n1"), ElementsAre("n1"));
  EXPECT_THAT(expand_node_list("n[1-3,7],m05"), ElementsAre("n1", "n2", "n3", "n7", "m05"));
  EXPECT_THAT(expand_node_list("gpu-[2]"), ElementsAre("gpu-2"));
}

TEST(SlurmNodeList, LeadingZerosStay) {
  EXPECT_THAT(expand_node_list("n[08-10,1]"), ElementsAre("n08", "n09", "n10", "n1"));
  EXPECT_THAT(expand_node_list("n[9-11]"), ElementsAre("n9", "n10", "n11"));
}

TEST(SlurmNodeList, SeveralBracketsMultiply) {
  EXPECT_THAT(expand_node_list("r[1-2]n[01,3]-ib"),
              ElementsAre("r1n01-ib", "r1n3-ib", "r2n01-ib", "r2n3-ib"));
}

TEST(SlurmNodeList, WhatIsNoListIsRefused) {
  EXPECT_THROW_WITH((void)expand_node_list("n[1-"), ConfigError, "'n[1-'", "a [ without its ]");
  EXPECT_THROW_WITH((void)expand_node_list("n[3-1]"), ConfigError, "the range '3-1'");
  EXPECT_THROW_WITH((void)expand_node_list("n[a]"), ConfigError, "the range 'a'");
  EXPECT_THROW_WITH((void)expand_node_list("n[]"), ConfigError, "the range ''");
  EXPECT_THROW_WITH((void)expand_node_list("n[1-2,]"), ConfigError, "the range ''");
  EXPECT_THROW_WITH((void)expand_node_list(""), ConfigError, "the name ''");
  EXPECT_THROW_WITH((void)expand_node_list("a,,b"), ConfigError, "the name ''");
  EXPECT_THROW_WITH((void)expand_node_list("a]b"), ConfigError, "the name 'a]b'");
  EXPECT_THROW_WITH((void)expand_node_list("-x"), ConfigError, "the name '-x'");
}

TEST(SlurmNodeList, AbsurdNumbersOfNodesAreRefused) {
  EXPECT_THROW_WITH((void)expand_node_list("n[1-99999999]"), ConfigError, "the range");
  EXPECT_THROW_WITH((void)expand_node_list("n[1-9999][1-9999]"), ConfigError, "too many nodes");
  EXPECT_THROW_WITH((void)expand_node_list("n[1-99999],m[1-99999]"), ConfigError, "too many nodes");
}

TEST(SlurmCounts, RepeatsAreExpanded) {
  EXPECT_THAT(expand_counts("2(x3),1"), ElementsAre(2, 2, 2, 1));
  EXPECT_THAT(expand_counts("16"), ElementsAre(16));
}

TEST(SlurmCounts, WhatIsNoCountIsRefused) {
  for (const char* text : {"", "2(x", "2(x)", "2(x3", "2(x0)", "x", "1,,2", "2(3)", "(x2)"}) {
    EXPECT_THROW_WITH((void)expand_counts(text), ConfigError, "expected numbers such as 2(x3),1");
  }
  EXPECT_THROW_WITH((void)expand_counts("1(x99999),1(x99999)"), ConfigError, "expected numbers");
}

Environment two_nodes() {
  return {{"SLURM_JOB_ID", "42"},
          {"SLURM_JOB_NODELIST", "n[1-2]"},
          {"SLURM_TASKS_PER_NODE", "2(x2)"},
          {"SLURM_JOB_CPUS_PER_NODE", "8,4"},
          {"SLURM_NTASKS", "4"}};
}

TEST(SlurmAllocation, IsReadFromTheEnvironment) {
  Environment environment = two_nodes();
  environment.insert({{"SLURM_CPUS_PER_TASK", "2"},
                      {"SLURM_GPUS_ON_NODE", "2"},
                      {"SLURM_RESTART_COUNT", "3"},
                      {"SLURM_JOB_END_TIME", "1700000000"}});
  const SlurmAllocation slurm = find_slurm_allocation(environment).value();
  EXPECT_EQ(slurm.job_id, "42");
  EXPECT_EQ(slurm.nodes, (Nodes{{"n1", 2, 8}, {"n2", 2, 4}}));
  EXPECT_TRUE(slurm.has_tasks);
  EXPECT_EQ(slurm.cpus_per_task, 2);
  EXPECT_EQ(slurm.gpus_on_node, 2);
  EXPECT_EQ(slurm.restart_count, 3);
  EXPECT_EQ(slurm.end_time, 1700000000);
}

TEST(SlurmAllocation, IsNoneOutsideOfAJob) {
  EXPECT_FALSE(find_slurm_allocation(Environment{}));
  EXPECT_FALSE(find_slurm_allocation({{"SLURM_CONF", "/etc/slurm.conf"}}));
}

TEST(SlurmAllocation, TasksCountOnlyWhenTheyWereAskedFor) {
  Environment environment = two_nodes();
  environment.erase("SLURM_NTASKS");
  EXPECT_FALSE(find_slurm_allocation(environment)->has_tasks);
  environment["SLURM_NTASKS_PER_NODE"] = "2";
  EXPECT_TRUE(find_slurm_allocation(environment)->has_tasks);
}

TEST(SlurmAllocation, TasksAreFoundInWhicheverVariableSaysThem) {
  Environment environment = two_nodes();
  environment.erase("SLURM_TASKS_PER_NODE");
  environment["SLURM_NTASKS"] = "5";
  EXPECT_EQ(find_slurm_allocation(environment)->nodes, (Nodes{{"n1", 3, 8}, {"n2", 2, 4}}));
  environment["SLURM_NTASKS_PER_NODE"] = "4";
  EXPECT_EQ(find_slurm_allocation(environment)->nodes, (Nodes{{"n1", 4, 8}, {"n2", 4, 4}}));
}

TEST(SlurmAllocation, TasksThatDoNotKnowOfEachOtherAreRefused) {
  const auto of_step = [](const char* tasks) {
    return find_slurm_allocation(
        {{"SLURM_JOB_ID", "42"}, {"SLURM_JOB_NODELIST", "n1"}, {"SLURM_STEP_NUM_TASKS", tasks}});
  };
  EXPECT_TRUE(of_step("1"));
  EXPECT_THROW_WITH((void)of_step("2"), ConfigError, "started 2 tasks", "srun --mpi=pmix");
}

TEST(SlurmAllocation, FaultsNameTheVariable) {
  EXPECT_THROW_WITH((void)find_slurm_allocation({{"SLURM_JOB_ID", "42"}}), ConfigError,
                    "SLURM_JOB_ID=42 is set, but SLURM_JOB_NODELIST is not", "unset SLURM_JOB_ID");
  Environment environment = two_nodes();
  environment["SLURM_TASKS_PER_NODE"] = "2(x3)";
  EXPECT_THROW_WITH((void)find_slurm_allocation(environment), ConfigError,
                    "SLURM_TASKS_PER_NODE=2(x3): expected numbers for the 2 nodes", "got 3");
  environment["SLURM_TASKS_PER_NODE"] = "two";
  EXPECT_THROW_WITH((void)find_slurm_allocation(environment), ConfigError,
                    "SLURM_TASKS_PER_NODE: 'two'");
  environment = two_nodes();
  environment["SLURM_CPUS_PER_TASK"] = "all";
  EXPECT_THROW_WITH((void)find_slurm_allocation(environment), ConfigError,
                    "SLURM_CPUS_PER_TASK=all: expected a whole number");
}

}  // namespace
}  // namespace molora
