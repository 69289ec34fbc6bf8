#include "launcher/plan/host_probe.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Clock = std::chrono::steady_clock;
using Words = std::vector<std::string>;
using std::chrono::seconds;
using testing::TempFolder;

LaunchPlan plan_on(const std::vector<std::string>& hosts) {
  LaunchPlan plan;
  plan.launcher = LaunchOptions::Launcher::kMpirun;
  for (const std::string& host : hosts) plan.hosts.push_back({host, 1});
  plan.room = plan.hosts;
  plan.is_local = false;
  return plan;
}

Machine here() {
  Machine machine;
  machine.host_name = "here";
  return machine;
}

// The plan with a launch agent that does what the script says with $1, the host.
LaunchPlan with_agent(LaunchPlan plan, const TempFolder& folder, const std::string& script) {
  const auto agent = folder.write("agent", "#!/bin/sh\n" + script);
  std::filesystem::permissions(agent, std::filesystem::perms::owner_all);
  plan.launcher_arguments = {"--mca", "plm_rsh_agent", agent.string()};
  return plan;
}

TEST(ProbeCommand, AsksBySshWithoutQuestions) {
  const Environment environment = {{"PATH", "/nowhere"}};
  EXPECT_EQ(probe_command(plan_on({"a"}), "a", seconds(7), environment),
            (Words{"ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=7", "a", "true"}));
}

TEST(ProbeCommand, AsksInTheWayOfTheLaunchAgent) {
  Environment environment = {{"OMPI_MCA_plm_rsh_agent", "/opt/bin/ssh -p 2222"}};
  LaunchPlan plan = plan_on({"a"});
  EXPECT_EQ(probe_command(plan, "a", seconds(7), environment),
            (Words{"/opt/bin/ssh", "-p", "2222", "-o", "BatchMode=yes", "-o", "ConnectTimeout=7",
                   "a", "true"}));
  environment["OMPI_MCA_plm_rsh_agent"] = "/no/agent : /bin/sh -x";
  EXPECT_EQ(probe_command(plan, "a", seconds(7), environment),
            (Words{"/bin/sh", "-x", "a", "true"}));
  plan.launcher_arguments = {"--mca", "plm_rsh_agent", "my-agent"};
  EXPECT_EQ(probe_command(plan, "a", seconds(7), environment), (Words{"my-agent", "a", "true"}));
}

TEST(ProbeCommand, AsksSlurmForItsNodes) {
  LaunchPlan plan = plan_on({"n1"});
  plan.launcher = LaunchOptions::Launcher::kSrun;
  EXPECT_EQ(probe_command(plan, "n1", seconds(7), {}),
            (Words{"srun", "--overlap", "--nodes=1", "--ntasks=1", "--nodelist=n1", "true"}));
}

TEST(HostProbe, NamesTheHostsThatDoNotAnswer) {
  const TempFolder folder;
  const LaunchPlan plan = with_agent(plan_on({"a", "b", "c"}), folder,
                                     "[ \"$2\" = true ] && case $1 in a|c) exit 0;; esac; exit 1");
  EXPECT_THAT(unreachable_hosts(plan, here(), seconds(10)), ElementsAre("b"));
}

TEST(HostProbe, ThisHostAlwaysAnswers) {
  const TempFolder folder;
  LaunchPlan plan = with_agent(plan_on({"here", "localhost", "me"}), folder, "exit 1");
  plan.local_host = "me";
  EXPECT_THAT(unreachable_hosts(plan, here(), seconds(10)), IsEmpty());
}

TEST(HostProbe, EndsInTimeAndLeavesNoProcess) {
  const TempFolder folder;
  const LaunchPlan plan = with_agent(
      plan_on({"a", "b"}), folder,
      "[ $1 = a ] && exit 0\nsleep 300 & echo $! >'" + (folder / "child").string() + "'\nwait");
  const Clock::time_point begin = Clock::now();
  EXPECT_THAT(unreachable_hosts(plan, here(), seconds(1)), ElementsAre("b"));
  EXPECT_LT(Clock::now() - begin, seconds(5));
  // The sleeping child is an orphan then: it is gone as soon as init has seen it.
  const pid_t child = std::stoi(testing::read_text(folder / "child"));
  const std::string state = "/proc/" + std::to_string(child) + "/stat";
  bool is_gone = false;
  for (int i = 0; i < 500 && !is_gone; ++i) {
    const std::string text = testing::read_text(state);
    is_gone = text.empty() || text.find(") Z ") != std::string::npos;
    if (!is_gone) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_TRUE(is_gone) << testing::read_text(state);
}

TEST(HostProbe, ManyHostsAreAskedAtOnce) {
  const TempFolder folder;
  Words hosts;
  for (int i = 0; i < 20; ++i) hosts.push_back("n" + std::to_string(i));
  const LaunchPlan plan = with_agent(plan_on(hosts), folder, "sleep 0.5");
  const Clock::time_point begin = Clock::now();
  EXPECT_THAT(unreachable_hosts(plan, here(), seconds(30)), IsEmpty());
  EXPECT_LT(Clock::now() - begin, seconds(8));  // one after the other: 10 s
}

TEST(HostProbe, AnAgentThatIsNotThereIsAnError) {
  LaunchPlan plan = plan_on({"a"});
  plan.launcher_arguments = {"--mca", "plm_rsh_agent", "/no/such/agent"};
  EXPECT_THROW_WITH((void)unreachable_hosts(plan, here(), seconds(1)), IoError,
                    "cannot ask host a with '/no/such/agent'", "No such file");
}

// The supervisor blocks the signals that it waits for; ssh must not inherit that.
TEST(HostProbe, ChildrenHearSignals) {
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &blocked, &before), 0);
  const TempFolder folder;
  const LaunchPlan plan = with_agent(plan_on({"a"}), folder, "kill -TERM $$; exit 0");
  const std::vector<std::string> silent = unreachable_hosts(plan, here(), seconds(10));
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  EXPECT_THAT(silent, ElementsAre("a"));
}

}  // namespace
}  // namespace molora
