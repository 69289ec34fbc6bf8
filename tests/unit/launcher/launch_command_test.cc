#include "launcher/plan/launch_command.h"

#include <array>
#include <cstdio>
#include <memory>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::Not;
using Launcher = LaunchOptions::Launcher;
using Words = std::vector<std::string>;

const Words kProgram = {"/bin/molora", "train", "a b.yaml"};

Machine machine(int cores, int numa_nodes = 1) {
  Machine machine;
  machine.host_name = "here";
  machine.num_cores = cores;
  machine.num_numa_nodes = numa_nodes;
  return machine;
}

// A plan of mpirun on these hosts.
LaunchPlan plan_on(std::vector<Host> hosts, int cores) {
  LaunchPlan plan;
  plan.launcher = Launcher::kMpirun;
  plan.hosts = std::move(hosts);
  plan.room = plan.hosts;
  plan.local_host = "here";
  plan.is_local = plan.hosts.size() == 1 && plan.hosts[0].name == "here";
  plan.cores_per_host = cores;
  plan.working_folder = "/work";
  return plan;
}

LaunchPlan slurm_plan(std::vector<Host> hosts, int cores) {
  LaunchPlan plan = plan_on(std::move(hosts), cores);
  plan.launcher = Launcher::kSrun;
  plan.slurm_job = "42";
  return plan;
}

LaunchCommand command_of(const LaunchPlan& plan, const Machine& local,
                         const Environment& environment = {}) {
  return launch_command(plan, kProgram, local, environment);
}

std::string line_of(const LaunchCommand& command) {
  std::string line;
  for (const std::string& word : command.words) line += (line.empty() ? "" : " ") + word;
  return line;
}

auto sets(const std::string& name, const std::string& value) {
  return Contains(
      AllOf(Field(&EnvironmentSetting::name, name), Field(&EnvironmentSetting::value, value)));
}
auto names(const std::string& name) { return Contains(Field(&EnvironmentSetting::name, name)); }

TEST(LaunchCommand, OfRanksOnThisHost) {
  const LaunchCommand command = command_of(plan_on({{"here", 3}}, 8), machine(8));
  EXPECT_EQ(line_of(command),
            "mpirun --np 3 --oversubscribe --bind-to none --mca pml ob1 --mca btl self,vader,tcp "
            "/bin/molora train a b.yaml");
  EXPECT_EQ(command.words.back(), "a b.yaml");
  EXPECT_THAT(command.environment, sets("OMP_NUM_THREADS", "2"));
  EXPECT_THAT(command.environment, sets("OMPI_MCA_btl_vader_single_copy_mechanism", "none"));
  EXPECT_THAT(command.environment, Not(names("OMPI_MCA_btl_tcp_if_exclude")));
}

TEST(LaunchCommand, OfOneRankIsTheProgramItself) {
  LaunchPlan plan = plan_on({{"here", 1}}, 8);
  plan.launcher = Launcher::kNone;
  const LaunchCommand command = command_of(plan, machine(8));
  EXPECT_EQ(command.words, kProgram);
  ASSERT_EQ(command.environment.size(), 1u);
  EXPECT_THAT(command.environment, sets("OMP_NUM_THREADS", "8"));
}

TEST(LaunchCommand, OfSeveralHostsNamesThemAndWhatTheyMustBeTold) {
  const LaunchCommand command = command_of(plan_on({{"a", 2}, {"b", 1}}, 8), machine(8),
                                           {{"MOLORA_FAULT", "x"},
                                            {"MOLORA_CACHE", "x"},
                                            {"NCCL_ALGO", "Ring"},
                                            {"OMP_PROC_BIND", "close"},
                                            {"HOME", "/root"}});
  EXPECT_EQ(line_of(command),
            "mpirun --np 3 --host a:2,b:1 --wdir /work --map-by slot --bind-to none "
            "-x MOLORA_ATTEMPT -x MOLORA_FAULT -x MOLORA_SUPERVISOR -x MOLORA_TOKEN -x NCCL_ALGO "
            "-x OMP_NUM_THREADS -x OMP_PROC_BIND /bin/molora train a b.yaml");
}

TEST(LaunchCommand, GpusChosenByNumberAreChosenOnEveryHostByUuidOnThisOne) {
  const LaunchPlan plan = plan_on({{"a", 2}, {"b", 2}}, 8);
  EXPECT_THAT(line_of(command_of(plan, machine(8), {{"CUDA_VISIBLE_DEVICES", "2,3"}})),
              HasSubstr("-x CUDA_VISIBLE_DEVICES "));
  EXPECT_THAT(line_of(command_of(plan, machine(8), {{"CUDA_VISIBLE_DEVICES", "GPU-1,GPU-2"}})),
              Not(HasSubstr("CUDA_VISIBLE_DEVICES")));
}

TEST(LaunchCommand, DaemonsOfSeveralHostsNoticeADeadLink) {
  const LaunchCommand command = command_of(plan_on({{"a", 2}, {"b", 2}}, 8), machine(8));
  EXPECT_THAT(command.environment, sets("OMPI_MCA_oob_tcp_keepalive_time", "10"));
  EXPECT_THAT(command.environment, sets("OMPI_MCA_oob_tcp_keepalive_intvl", "5"));
  EXPECT_THAT(command.environment, sets("OMPI_MCA_oob_tcp_keepalive_probes", "3"));
}

TEST(LaunchCommand, BridgesOfContainersAreNoNetworkBetweenHosts) {
  const LaunchPlan plan = plan_on({{"a", 2}, {"b", 2}}, 8);
  const LaunchCommand command = command_of(plan, machine(8));
  EXPECT_THAT(command.environment,
              sets("OMPI_MCA_btl_tcp_if_exclude", "127.0.0.1/8,sppp,docker0,virbr0"));
  EXPECT_THAT(command.environment, sets("OMPI_MCA_oob_tcp_if_exclude", "docker0,virbr0"));
}

// To name interfaces both ways is an error of Open MPI.
TEST(LaunchCommand, InterfacesThatTheUserNamedAreLeftAlone) {
  LaunchPlan plan = plan_on({{"a", 2}, {"b", 2}}, 8);
  const LaunchCommand by_variable =
      command_of(plan, machine(8), {{"OMPI_MCA_btl_tcp_if_include", "e0"}});
  EXPECT_THAT(by_variable.environment, Not(names("OMPI_MCA_btl_tcp_if_exclude")));
  EXPECT_THAT(by_variable.environment, names("OMPI_MCA_oob_tcp_if_exclude"));
  plan.launcher_arguments = {"--mca", "btl_tcp_if_include", "e0",
                             "-mca",  "oob_tcp_if_include", "e0"};
  const LaunchCommand by_argument = command_of(plan, machine(8));
  EXPECT_THAT(by_argument.environment, Not(names("OMPI_MCA_btl_tcp_if_exclude")));
  EXPECT_THAT(by_argument.environment, Not(names("OMPI_MCA_oob_tcp_if_exclude")));
}

TEST(LaunchCommand, ArgumentsOfTheUserStandBeforeTheProgramAndReplaceOurs) {
  LaunchPlan plan = plan_on({{"here", 2}}, 8);
  plan.launcher_arguments = {"--bind-to", "core", "--mca", "btl", "self,tcp"};
  EXPECT_EQ(line_of(command_of(plan, machine(8))),
            "mpirun --np 2 --oversubscribe --mca pml ob1 --bind-to core --mca btl self,tcp "
            "/bin/molora train a b.yaml");
}

TEST(LaunchCommand, VariablesOfTheUserReplaceOurs) {
  const LaunchCommand command = command_of(plan_on({{"here", 8}}, 8), machine(8),
                                           {{"OMPI_MCA_btl", "tcp,self"},
                                            {"OMP_NUM_THREADS", "3"},
                                            {"OMPI_MCA_mpi_yield_when_idle", "0"}});
  EXPECT_THAT(line_of(command), Not(HasSubstr("btl")));
  EXPECT_THAT(command.environment, Not(names("OMP_NUM_THREADS")));
  EXPECT_THAT(command.environment, Not(names("OMPI_MCA_mpi_yield_when_idle")));
}

TEST(LaunchCommand, WaitingRanksYieldOnlyWhenCoresAreShort) {
  EXPECT_THAT(command_of(plan_on({{"here", 2}}, 2), machine(2)).environment,
              sets("OMPI_MCA_mpi_yield_when_idle", "1"));
  EXPECT_THAT(command_of(plan_on({{"here", 2}}, 16), machine(16)).environment,
              Not(names("OMPI_MCA_mpi_yield_when_idle")));
}

TEST(LaunchCommand, MpirunIsToldThatTheUserIsRootOnlyWhenHeIs) {
  Machine local = machine(8);
  EXPECT_THAT(command_of(plan_on({{"here", 2}}, 8), local).environment,
              Not(names("OMPI_ALLOW_RUN_AS_ROOT")));
  local.is_root = true;
  const LaunchCommand command = command_of(plan_on({{"here", 2}}, 8), local);
  EXPECT_THAT(command.environment, sets("OMPI_ALLOW_RUN_AS_ROOT", "1"));
  EXPECT_THAT(command.environment, sets("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"));
  EXPECT_THAT(command_of(slurm_plan({{"n1", 2}}, 8), local).environment,
              Not(names("OMPI_ALLOW_RUN_AS_ROOT")));
}

TEST(LaunchCommand, NcclIsSpokenToOnlyWhereThereAreGpus) {
  LaunchPlan plan = plan_on({{"a", 2}, {"b", 2}}, 8);
  EXPECT_THAT(command_of(plan, machine(8)).environment, Not(names("NCCL_DEBUG")));
  plan.is_for_gpus = true;
  const LaunchCommand command = command_of(plan, machine(8));
  EXPECT_THAT(command.environment, sets("NCCL_DEBUG", "WARN"));
  EXPECT_THAT(line_of(command), HasSubstr("-x NCCL_DEBUG "));
}

TEST(LaunchCommand, RanksAreBoundToNumaNodesInBlocks) {
  EXPECT_THAT(line_of(command_of(plan_on({{"here", 4}}, 8), machine(8, 2))),
              HasSubstr("--oversubscribe --map-by ppr:2:numa --bind-to numa:if-supported --mca"));
  EXPECT_THAT(line_of(command_of(plan_on({{"a", 4}, {"b", 4}}, 8), machine(8, 2))),
              HasSubstr("--map-by ppr:2:numa --bind-to numa:if-supported -x"));
  EXPECT_THAT(line_of(command_of(plan_on({{"a", 4}, {"b", 2}}, 8), machine(8, 2))),
              HasSubstr("--map-by slot --bind-to numa:if-supported"));
  EXPECT_THAT(line_of(command_of(plan_on({{"here", 3}}, 8), machine(8, 2))),
              HasSubstr("--map-by slot --bind-to numa:if-supported"));
}

TEST(LaunchCommand, MoreRanksThanCoresAreNotBound) {
  EXPECT_THAT(line_of(command_of(plan_on({{"here", 9}}, 8), machine(8, 2))),
              HasSubstr("--oversubscribe --bind-to none"));
}

TEST(LaunchCommand, OfSlurmIsSrun) {
  const LaunchCommand command = command_of(slurm_plan({{"n1", 2}, {"n2", 2}}, 8), machine(8));
  EXPECT_EQ(line_of(command),
            "srun --mpi=pmix --nodes=2 --ntasks=4 --ntasks-per-node=2 --nodelist=n1,n2 "
            "--distribution=block --kill-on-bad-exit=1 --export=ALL --chdir=/work --cpu-bind=none "
            "/bin/molora train a b.yaml");
  EXPECT_THAT(command.environment, sets("OMP_NUM_THREADS", "4"));
  EXPECT_THAT(command.environment, names("OMPI_MCA_btl_tcp_if_exclude"));
  EXPECT_THAT(command.environment, Not(names("OMPI_MCA_oob_tcp_keepalive_time")));
}

TEST(LaunchCommand, CpusThatSlurmWasAskedForAreHandedToTheStep) {
  LaunchPlan plan = slurm_plan({{"n1", 2}, {"n2", 2}}, 8);
  plan.cpus_per_task = 3;
  plan.launcher_arguments = {"--cpu-bind=verbose"};
  const LaunchCommand command = command_of(plan, machine(8));
  EXPECT_THAT(line_of(command),
              HasSubstr("--cpus-per-task=3 --cpu-bind=cores --cpu-bind=verbose /bin/molora"));
  EXPECT_THAT(command.environment, sets("OMP_NUM_THREADS", "3"));
}

TEST(LaunchCommand, AnUnevenSlurmJobNamesItsNodesRankByRank) {
  EXPECT_THAT(line_of(command_of(slurm_plan({{"n1", 2}, {"n2", 1}}, 8), machine(8))),
              HasSubstr("--nodes=2 --ntasks=3 --nodelist=n1,n1,n2 --distribution=arbitrary"));
}

TEST(LaunchCommand, EverySettingHasItsReason) {
  Machine local = machine(2, 2);
  local.is_root = true;
  LaunchPlan plan = plan_on({{"a", 2}, {"b", 2}}, 2);
  plan.is_for_gpus = true;
  const LaunchCommand command = command_of(plan, local);
  EXPECT_EQ(command.environment.size(), 11u);
  for (const EnvironmentSetting& setting : command.environment) {
    EXPECT_GE(setting.reason.size(), 8u) << setting.name;
    EXPECT_EQ(setting.reason.find('\n'), std::string::npos) << setting.name;
  }
}

TEST(LaunchCommand, NeedsAProgramThatOtherHostsFind) {
  const LaunchPlan plan = plan_on({{"a", 2}, {"b", 2}}, 8);
  EXPECT_THROW_WITH((void)launch_command(plan, {"molora"}, machine(8), {}), InternalError,
                    "molora on other hosts");
  EXPECT_THROW_WITH((void)launch_command(plan, {}, machine(8), {}), InternalError, "empty()");
}

TEST(CommandText, IsAScriptWithReasons) {
  LaunchCommand command;
  command.words = {"mpirun", "/bin/molora", "a b", "it's", "", "x=$y"};
  command.environment = {{"OMP_NUM_THREADS", "2", "two cores"}, {"A", "b c", "a space"}};
  command.notes = {"--np: two"};
  EXPECT_EQ(command_text(command),
            "# two cores\nexport OMP_NUM_THREADS=2\n# a space\nexport A='b c'\n# --np: two\n"
            "mpirun /bin/molora 'a b' 'it'\\''s' '' 'x=$y'\n");
}

// What a shell command prints, and its exit status in the end.
std::string output_of(const std::string& command) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(::popen(command.c_str(), "r"),
                                                             ::pclose);
  std::string text;
  std::array<char, 4096> buffer{};
  while (pipe != nullptr) {
    const size_t count = std::fread(buffer.data(), 1, buffer.size(), pipe.get());
    if (count == 0) break;
    text.append(buffer.data(), count);
  }
  return text;
}

TEST(CommandText, RunsInAShellAsItIs) {
  if (program_on_path(process_environment(), "mpirun").empty()) GTEST_SKIP() << "no mpirun";
  const Machine local = find_machine();
  LaunchPlan plan = plan_on({{local.host_name, 2}}, local.num_cores);
  plan.local_host = local.host_name;
  plan.is_local = true;
  const LaunchCommand command = launch_command(
      plan, {"/bin/sh", "-c", "echo \"it's $OMP_NUM_THREADS $0\"", "a  b"}, local, {});
  const int threads = std::max(1, local.num_cores / 2);
  const std::string line = fmt::format("it's {} a  b\n", threads);
  EXPECT_EQ(output_of(fmt::format("({}) 2>&1", command_text(command))), line + line);
}

// Open MPI itself on a made-up machine of two packages with a NUMA node each.
TEST(LaunchCommand, MpirunPlacesBlocksOfRanksOnNumaNodes) {
  if (program_on_path(process_environment(), "mpirun").empty()) GTEST_SKIP() << "no mpirun";
  Machine local = find_machine();
  local.num_cores = 8;
  local.num_numa_nodes = 2;
  LaunchPlan plan = plan_on({{"here", 4}}, 8);
  plan.launcher_arguments = {"--do-not-launch", "--display-map"};
  const LaunchCommand command = launch_command(plan, {"/bin/true"}, local, {});
  const std::string map =
      output_of("export HWLOC_SYNTHETIC='package:2 numa:1 core:4 pu:1' HWLOC_THISSYSTEM=0\n(" +
                command_text(command) + ") 2>&1");
  if (map.find("Bound:") == std::string::npos) GTEST_SKIP() << "this mpirun shows no map: " << map;
  for (const char* line : {"rank: 0 Bound: socket 0[", "rank: 1 Bound: socket 0[",
                           "rank: 2 Bound: socket 1[", "rank: 3 Bound: socket 1["}) {
    EXPECT_THAT(map, HasSubstr(line));
  }
}

}  // namespace
}  // namespace molora
