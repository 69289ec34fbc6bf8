#include "launcher/plan/launch_plan.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using testing::TempFolder;
using Hosts = std::vector<Host>;
using Launcher = LaunchOptions::Launcher;

Machine machine(int cores, int numa_nodes = 1, int gpus = 0) {
  Machine machine;
  machine.host_name = "here";
  machine.num_cores = cores;
  machine.num_numa_nodes = numa_nodes;
  machine.num_gpus = gpus;
  return machine;
}

ParallelConfig layout(uint32_t tensor_parallel = 1, uint32_t expert_parallel = 1) {
  ParallelConfig parallel;
  parallel.set_tensor_parallel(tensor_parallel);
  parallel.set_expert_parallel(expert_parallel);
  return parallel;
}

LaunchOptions ranks(int num_ranks, const std::string& hosts = "") {
  LaunchOptions options;
  options.num_ranks = num_ranks;
  options.hosts = hosts;
  return options;
}

LaunchOptions on_hosts(const std::string& hosts) { return ranks(0, hosts); }

// Outside of Slurm.
LaunchPlan plan_of(const LaunchOptions& options, const Machine& local,
                   const ParallelConfig& parallel = layout()) {
  return make_launch_plan(options, parallel, local, std::nullopt, {});
}

TEST(LaunchPlan, OneRankOnThisHostIsStartedDirectly) {
  const LaunchPlan plan = plan_of({}, machine(8));
  EXPECT_EQ(plan.launcher, Launcher::kNone);
  EXPECT_EQ(plan.hosts, (Hosts{{"here", 1}}));
  EXPECT_TRUE(plan.is_local);
  EXPECT_EQ(describe(plan), "1 rank on 1 host (here 1): one for each NUMA node, started directly");
}

TEST(LaunchPlan, RanksOfTheUserWin) {
  const LaunchPlan plan = plan_of(ranks(2), machine(64, 4, 8));
  EXPECT_EQ(plan.launcher, Launcher::kMpirun);
  EXPECT_EQ(plan.hosts, (Hosts{{"here", 2}}));
  EXPECT_EQ(describe(plan), "2 ranks on 1 host (here 2): --ranks, started by mpirun");
}

TEST(LaunchPlan, ThisHostTakesMoreRanksThanItHasCores) {
  EXPECT_EQ(plan_of(ranks(8), machine(2)).hosts, (Hosts{{"here", 8}}));
}

TEST(LaunchPlan, OneRankForEachGpu) {
  const LaunchPlan plan = plan_of({}, machine(64, 2, 4));
  EXPECT_EQ(plan.num_ranks(), 4);
  EXPECT_TRUE(plan.is_for_gpus);
  EXPECT_EQ(plan.why, "one for each GPU");
}

TEST(LaunchPlan, GpusThatRanksMayNotUseCountForNothing) {
  LaunchOptions options;
  options.may_use_gpus = false;
  const LaunchPlan plan = plan_of(options, machine(64, 2, 4));
  EXPECT_EQ(plan.num_ranks(), 2);
  EXPECT_FALSE(plan.is_for_gpus);
  EXPECT_EQ(plan.why, "one for each NUMA node");
}

TEST(LaunchPlan, TheGpusOfThisHostStandForThoseOfOthers) {
  const LaunchPlan plan = plan_of(on_hosts("a,b"), machine(64, 2, 4));
  EXPECT_EQ(plan.hosts, (Hosts{{"a", 4}, {"b", 4}}));
  EXPECT_FALSE(plan.is_local);
  EXPECT_EQ(describe(plan), "8 ranks on 2 hosts (a 4, b 4): one for each GPU, started by mpirun");
}

TEST(LaunchPlan, SlotsOfHostsCountBeforeGpus) {
  const LaunchPlan plan = plan_of(on_hosts("a:2,b:1"), machine(64, 2, 4));
  EXPECT_EQ(plan.hosts, (Hosts{{"a", 2}, {"b", 1}}));
  EXPECT_EQ(plan.why, "the slots of --hosts");
}

TEST(LaunchPlan, OneRankForEachNumaNodeWithoutGpus) {
  EXPECT_EQ(plan_of({}, machine(64, 4)).num_ranks(), 4);
  EXPECT_EQ(plan_of(on_hosts("a:3,b"), machine(64, 2)).hosts, (Hosts{{"a", 3}, {"b", 2}}));
}

TEST(LaunchPlan, NumaNodesAreRoundedToWhatTheLayoutTakes) {
  EXPECT_EQ(plan_of({}, machine(64, 4), layout(3)).num_ranks(), 3);
  const LaunchPlan plan = plan_of({}, machine(64, 1), layout(2, 4));
  EXPECT_EQ(plan.num_ranks(), 4);
  EXPECT_EQ(plan.why, "as many as the layout needs");
  EXPECT_EQ(plan_of(on_hosts("a,b"), machine(64, 1), layout(1, 4)).hosts,
            (Hosts{{"a", 2}, {"b", 2}}));
}

TEST(LaunchPlan, RanksAreSpreadOverHostsInWholeTensorParallelGroups) {
  EXPECT_EQ(plan_of(ranks(6, "a:4,b:4"), machine(8)).hosts, (Hosts{{"a", 3}, {"b", 3}}));
  EXPECT_EQ(plan_of(ranks(6, "a:4,b:4"), machine(8), layout(2)).hosts, (Hosts{{"a", 4}, {"b", 2}}));
  EXPECT_EQ(plan_of(ranks(2, "a,b,c"), machine(8)).hosts, (Hosts{{"a", 1}, {"b", 1}}));
}

TEST(LaunchPlan, AHostNamedAsThisOneIsLocal) {
  EXPECT_TRUE(plan_of(on_hosts("here.org:2"), machine(8)).is_local);
  EXPECT_TRUE(plan_of(on_hosts("localhost:2"), machine(8)).is_local);
  const LaunchPlan elsewhere = plan_of(on_hosts("there:1"), machine(8));
  EXPECT_FALSE(elsewhere.is_local);
  EXPECT_EQ(elsewhere.launcher, Launcher::kMpirun);
}

TEST(LaunchPlan, HostsComeFromAHostfile) {
  const TempFolder folder;
  LaunchOptions options;
  options.hostfile = folder.write("hosts", "a slots=2\nb slots=2\n");
  const LaunchPlan plan = plan_of(options, machine(8));
  EXPECT_EQ(plan.hosts, (Hosts{{"a", 2}, {"b", 2}}));
  EXPECT_EQ(plan.why, "the slots of " + options.hostfile.string());
  options.hosts = "a";
  EXPECT_THROW_WITH((void)plan_of(options, machine(8)), ConfigError, "--hosts a", "--hostfile",
                    "expected one");
}

TEST(LaunchPlan, RanksThatDoNotFitAreRefused) {
  EXPECT_THROW_WITH((void)plan_of(ranks(9, "a:4,b:4"), machine(8)), ConfigError,
                    "9 ranks (--ranks) do not fit: 2 hosts have room for 8", "--ranks 8 or less");
  EXPECT_THROW_WITH((void)plan_of(ranks(9, "a:4"), machine(8)), ConfigError,
                    "1 host has room for 4");
  EXPECT_EQ(plan_of(ranks(9, "a:4,b"), machine(8)).hosts, (Hosts{{"a", 4}, {"b", 5}}));
}

TEST(LaunchPlan, RanksThatTheLayoutDoesNotTakeAreRefusedWithThoseThatItDoes) {
  EXPECT_THROW_WITH(
      (void)plan_of(ranks(3), machine(8), layout(2, 1)), ConfigError,
      "3 ranks (--ranks) cannot be laid out",
      "parallel.tensor_parallel 2 and parallel.expert_parallel 1 need a multiple of 2",
      "write --ranks 2 or --ranks 4");
  EXPECT_THROW_WITH((void)plan_of({}, machine(64, 1, 6), layout(4, 1)), ConfigError,
                    "6 ranks (one for each GPU)", "write --ranks 4, or other values");
  EXPECT_THROW_WITH((void)plan_of(on_hosts("a:3"), machine(8), layout(2, 4)), ConfigError,
                    "3 ranks (the slots of --hosts)", "need a multiple of 4",
                    "smaller values there, or name hosts with more room");
}

TEST(LaunchPlan, TheDebuggersLauncherRunsOneRankHere) {
  LaunchOptions options;
  options.launcher = Launcher::kNone;
  const LaunchPlan plan = plan_of(options, machine(64, 4, 8));
  EXPECT_EQ(plan.launcher, Launcher::kNone);
  EXPECT_EQ(plan.num_ranks(), 1);
  EXPECT_EQ(plan.why, "--launcher none");
  EXPECT_THROW_WITH((void)plan_of(options, machine(8), layout(2)), ConfigError,
                    "1 rank (--launcher none) cannot be laid out");
  options.num_ranks = 2;
  EXPECT_THROW_WITH((void)plan_of(options, machine(8)), ConfigError, "--launcher none",
                    "2 ranks on this host");
  options.num_ranks = 1;
  options.hosts = "there";
  EXPECT_THROW_WITH((void)plan_of(options, machine(8)), ConfigError, "1 rank on other hosts");
}

TEST(LaunchPlan, AskedLaunchersAndTheirArgumentsAreTaken) {
  LaunchOptions options;
  options.launcher = Launcher::kMpirun;
  EXPECT_EQ(plan_of(options, machine(8)).launcher, Launcher::kMpirun);
  options.launcher = Launcher::kAuto;
  options.launcher_arguments = {"--report-bindings"};
  const LaunchPlan plan = plan_of(options, machine(8));
  EXPECT_EQ(plan.launcher, Launcher::kMpirun);  // who else would take the arguments
  EXPECT_EQ(plan.launcher_arguments, options.launcher_arguments);
  options.launcher = Launcher::kSrun;
  EXPECT_THROW_WITH((void)plan_of(options, machine(8)), ConfigError,
                    "--launcher srun needs a Slurm allocation");
}

TEST(PlanWithoutHosts, KeepsAsManyRanksAsFit) {
  const LaunchPlan plan = plan_of(on_hosts("a:4,b:4,c:4"), machine(8), layout(2, 4));
  const LaunchPlan smaller = without_hosts(plan, layout(2, 4), {"b"}).value();
  EXPECT_EQ(smaller.hosts, (Hosts{{"a", 4}, {"c", 4}}));
  EXPECT_EQ(describe(smaller),
            "8 ranks on 2 hosts (a 4, c 4): the slots of --hosts, without b, started by mpirun");
}

TEST(PlanWithoutHosts, StaysAMultipleOfWhatTheLayoutTakes) {
  const LaunchPlan plan = plan_of(on_hosts("a:3,b:3"), machine(8), layout(2));
  EXPECT_EQ(without_hosts(plan, layout(2), {"a"})->hosts, (Hosts{{"b", 2}}));
}

TEST(PlanWithoutHosts, UsesRoomThatWasFree) {
  const LaunchPlan plan = plan_of(ranks(4, "a:4,b:4"), machine(8));
  EXPECT_EQ(plan.hosts, (Hosts{{"a", 2}, {"b", 2}}));
  EXPECT_EQ(without_hosts(plan, layout(), {"a"})->hosts, (Hosts{{"b", 4}}));
}

TEST(PlanWithoutHosts, OfUnknownRoomTakesNoMoreThanBeforeUnlessTheLayoutNeedsIt) {
  const LaunchPlan plan = plan_of(ranks(4, "a,b"), machine(8));
  EXPECT_EQ(without_hosts(plan, layout(), {"a"})->hosts, (Hosts{{"b", 2}}));
  const LaunchPlan wide = plan_of(ranks(4, "a,b"), machine(8), layout(1, 4));
  EXPECT_EQ(wide.hosts, (Hosts{{"a", 2}, {"b", 2}}));
  EXPECT_EQ(without_hosts(wide, layout(1, 4), {"a"})->hosts, (Hosts{{"b", 4}}));
}

TEST(PlanWithoutHosts, IsNoneWhereNoLayoutIsLeft) {
  const LaunchPlan plan = plan_of(on_hosts("a:2,b:2"), machine(8), layout(4));
  EXPECT_FALSE(without_hosts(plan, layout(4), {"a"}));
  EXPECT_FALSE(without_hosts(plan, layout(1), {"a", "b"}));
  EXPECT_FALSE(without_hosts(plan_of(ranks(2), machine(8)), layout(), {"here"}));
}

TEST(PlanWithoutHosts, IsTheSameWhenNoneOfThemWasInIt) {
  const LaunchPlan plan = plan_of(on_hosts("a:2,b:2"), machine(8));
  EXPECT_EQ(without_hosts(plan, layout(), {"z"})->hosts, plan.hosts);
  EXPECT_EQ(without_hosts(plan, layout(), {})->why, plan.why);
}

TEST(PlanWithoutHosts, KnowsWhenOnlyThisHostIsLeft) {
  const LaunchPlan plan = plan_of(on_hosts("here:2,b:2"), machine(8));
  EXPECT_FALSE(plan.is_local);
  EXPECT_TRUE(without_hosts(plan, layout(), {"b"})->is_local);
  EXPECT_FALSE(without_hosts(plan, layout(), {"here"})->is_local);
}

TEST(PlanSentence, NamesTheFirstHostsOfMany) {
  std::string hosts;
  for (int i = 0; i < 10; ++i) hosts += (i == 0 ? "n" : ":1,n") + std::to_string(i);
  const std::string text = describe(plan_of(on_hosts(hosts + ":1"), machine(8)));
  EXPECT_NE(text.find("10 ranks on 10 hosts (n0 1, "), std::string::npos) << text;
  EXPECT_NE(text.find("n7 1 and 2 more)"), std::string::npos) << text;
}

}  // namespace
}  // namespace molora
