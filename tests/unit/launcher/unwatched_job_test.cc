#include "launcher/unwatched_job.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/temp_folder.h"

namespace molora {
namespace {

using ::testing::Contains;
using ::testing::ContainsRegex;
using ::testing::Not;
using ::testing::Pair;

// Runs a shell script as a job of two ranks in a process of its own and, once both ranks have
// written a file "ready", sends the signals; returns the job's exit code.
int run_script(const testing::TempFolder& folder, const std::string& script,
               const std::vector<int>& signals) {
  const auto path = folder.write("rank.sh", script);
  const pid_t child = ::fork();
  if (child == 0) {
    ::_exit(run_unwatched({2}, {"/bin/sh", path.string(), folder.path().string()}));
  }
  const auto ranks_ready = [&] {
    return std::filesystem::exists(folder / "ready.0") &&
           std::filesystem::exists(folder / "ready.1");
  };
  for (const int signal : signals) {
    while (!ranks_ready() && ::waitpid(child, nullptr, WNOHANG) == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ::kill(child, signal);
    while (!std::filesystem::exists(folder / "got-usr1.0") && signals.size() > 1) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

constexpr char kReady[] = "touch \"$1/ready.$OMPI_COMM_WORLD_RANK\"\n";

TEST(UnwatchedJob, ReturnsTheExitCodeOfItsRanks) {
  const testing::TempFolder folder;
  EXPECT_EQ(run_script(folder, "exit 0\n", {}), 0);
  EXPECT_EQ(run_script(folder, "exit 64\n", {}), 64);
}

TEST(UnwatchedJob, TheFirstInterruptAsksEveryRankToSaveAndLeave) {
  const testing::TempFolder folder;
  const std::string script = std::string(
                                 "trap 'touch \"$1/saved.$OMPI_COMM_WORLD_RANK\"; exit 75' "
                                 "USR1\n") +
                             kReady + "while true; do sleep 0.05; done\n";
  EXPECT_EQ(run_script(folder, script, {SIGINT}), 75);
  EXPECT_TRUE(std::filesystem::exists(folder / "saved.0"));
  EXPECT_TRUE(std::filesystem::exists(folder / "saved.1"));
}

TEST(UnwatchedJob, TheSecondInterruptEndsTheRanksAtOnce) {
  const testing::TempFolder folder;
  const std::string script =
      std::string("trap 'touch \"$1/got-usr1.$OMPI_COMM_WORLD_RANK\"' USR1\n") + kReady +
      "while true; do sleep 0.05; done\n";
  EXPECT_NE(run_script(folder, script, {SIGINT, SIGINT}), 0);
}

}  // namespace
}  // namespace molora
