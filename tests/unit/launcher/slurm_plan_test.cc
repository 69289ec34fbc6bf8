// The plan inside of a Slurm allocation.
#include <gtest/gtest.h>

#include "base/error.h"
#include "launcher/plan/launch_plan.h"
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

SlurmAllocation two_nodes(int tasks, int cpus) {
  SlurmAllocation slurm;
  slurm.job_id = "42";
  slurm.nodes = {{"n1", tasks, cpus}, {"n2", tasks, cpus}};
  slurm.has_tasks = true;
  return slurm;
}

// A PATH on which srun is.
class SlurmPath {
 public:
  SlurmPath() {
    std::filesystem::permissions(folder_.write("srun", ""), std::filesystem::perms::owner_all);
  }
  Environment environment() const { return {{"PATH", folder_.path().string()}}; }

 private:
  TempFolder folder_;
};

TEST(SlurmPlan, HostsAndTasksAreThoseOfTheAllocation) {
  const SlurmPath path;
  SlurmAllocation slurm = two_nodes(2, 8);
  slurm.cpus_per_task = 4;
  const LaunchPlan plan =
      make_launch_plan({}, layout(), machine(64, 1, 4), slurm, path.environment());
  EXPECT_EQ(plan.hosts, (Hosts{{"n1", 2}, {"n2", 2}}));
  EXPECT_EQ(plan.launcher, Launcher::kSrun);
  EXPECT_EQ(plan.cores_per_host, 8);
  EXPECT_EQ(plan.cpus_per_task, 4);
  EXPECT_EQ(describe(plan),
            "4 ranks on 2 hosts (n1 2, n2 2): the tasks of the allocation, started by srun (Slurm "
            "allocation 42)");
}

TEST(SlurmPlan, WithoutAskedTasksGpusOfTheNodeCount) {
  const SlurmPath path;
  SlurmAllocation slurm = two_nodes(8, 8);
  slurm.has_tasks = false;
  slurm.gpus_on_node = 4;
  EXPECT_EQ(make_launch_plan({}, layout(), machine(8), slurm, path.environment()).hosts,
            (Hosts{{"n1", 4}, {"n2", 4}}));
  slurm.gpus_on_node = 0;
  EXPECT_EQ(make_launch_plan({}, layout(), machine(8), slurm, path.environment()).hosts,
            (Hosts{{"n1", 1}, {"n2", 1}}));
}

TEST(SlurmPlan, NumaNodesDoNotExceedTheGrantedCpus) {
  const SlurmPath path;
  SlurmAllocation slurm = two_nodes(1, 1);
  slurm.has_tasks = false;
  const auto plan = [&](const ParallelConfig& parallel) {
    return make_launch_plan({}, parallel, machine(64, 4), slurm, path.environment());
  };
  EXPECT_EQ(plan(layout()).hosts, (Hosts{{"n1", 1}, {"n2", 1}}));
  EXPECT_THROW_WITH((void)plan(layout(4)), ConfigError,
                    "4 ranks (as many as the layout needs) do not fit: 2 hosts have room for 2");
}

TEST(SlurmPlan, GpusWithoutCpusAreRefused) {
  const SlurmPath path;
  SlurmAllocation slurm = two_nodes(2, 2);
  slurm.has_tasks = false;
  slurm.gpus_on_node = 4;
  EXPECT_THROW_WITH((void)make_launch_plan({}, layout(), machine(8), slurm, path.environment()),
                    ConfigError, "host n1 has 4 GPUs, but room for 2 ranks", "write --ranks");
}

TEST(SlurmPlan, RanksMayBeMoreThanTasksButNotThanCpus) {
  const SlurmPath path;
  const SlurmAllocation slurm = two_nodes(1, 4);
  const auto plan = [&](int count) {
    return make_launch_plan(ranks(count), layout(), machine(8), slurm, path.environment());
  };
  EXPECT_EQ(plan(6).hosts, (Hosts{{"n1", 3}, {"n2", 3}}));
  EXPECT_THROW_WITH((void)plan(9), ConfigError, "2 hosts have room for 8");
}

TEST(SlurmPlan, NamedHostsMustBeOfTheAllocation) {
  const SlurmPath path;
  const SlurmAllocation slurm = two_nodes(2, 4);
  const auto plan = [&](const std::string& hosts) {
    return make_launch_plan(on_hosts(hosts), layout(), machine(8), slurm, path.environment());
  };
  EXPECT_EQ(plan("n2").hosts, (Hosts{{"n2", 2}}));
  EXPECT_EQ(plan("n2:3,n1").hosts, (Hosts{{"n2", 3}, {"n1", 2}}));
  EXPECT_THROW_WITH((void)plan("n3"), ConfigError,
                    "host n3 is not one of the 2 nodes of Slurm allocation 42");
}

TEST(SlurmPlan, MpirunTakesOverWhereSrunIsNot) {
  const SlurmAllocation slurm = two_nodes(2, 4);
  const Environment no_srun = {{"PATH", "/nowhere"}};
  EXPECT_EQ(make_launch_plan({}, layout(), machine(8), slurm, no_srun).launcher, Launcher::kMpirun);
  LaunchOptions options;
  options.launcher = Launcher::kSrun;
  EXPECT_THROW_WITH((void)make_launch_plan(options, layout(), machine(8), slurm, no_srun),
                    ConfigError, "srun is not on PATH", "allocation 42", "--launcher mpirun");
  options.launcher = Launcher::kMpirun;
  const SlurmPath path;
  EXPECT_EQ(make_launch_plan(options, layout(), machine(8), slurm, path.environment()).launcher,
            Launcher::kMpirun);
}

}  // namespace
}  // namespace molora
