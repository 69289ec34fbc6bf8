// Whole jobs under the supervisor, with a worker that breaks as told and in place of mpirun a shell
// script: the right name, code and action for each fault, in time, and nothing left behind.
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/started_job.h"

namespace molora {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::StartedJob;

constexpr double kUsual = 20.0;  // seconds; a job takes one or two

void expect_nothing_left(const StartedJob& job) {
  EXPECT_TRUE(StartedJob::wait_for(8.0, [&] { return job.processes().empty(); }))
      << job.processes().size() << " processes are left";
  EXPECT_THAT(job.shared_memory(), IsEmpty());
}

TEST(SupervisedJob, EndsWithZeroAndKeepsALogForEachRank) {
  StartedJob job("supervise", {"steps=4"});
  EXPECT_EQ(job.wait(kUsual), 0) << job.log();
  EXPECT_THAT(job.log(), AllOf(HasSubstr("[rank 0] step 4 of start 1"),
                               HasSubstr("[rank 1] step 4 of start 1"),
                               HasSubstr("[rank 0] rank 0 is done"), Not(HasSubstr("bar")),
                               Not(HasSubstr("only in the file")), Not(HasSubstr("fake mpirun"))));
  EXPECT_THAT(
      job.file("logs/rank-1.log"),
      AllOf(HasSubstr("--- start 1"), HasSubstr("step 4 of start 1\nonly in the file 4\n")));
  EXPECT_THAT(job.file("logs/launcher.log"), HasSubstr("fake mpirun: starting 2 ranks"));
  EXPECT_FALSE(std::filesystem::exists(job.run_folder() / "reason.json"));
  expect_nothing_left(job);
}

TEST(SupervisedJob, ARankThatIsKilledIsNamedAndTheRunGoesOnFromItsCheckpoint) {
  StartedJob job("supervise", {"fault=kill", "step=5"});
  EXPECT_EQ(job.wait(kUsual), 0) << job.log();
  EXPECT_THAT(job.log(),
              AllOf(HasSubstr("rank 1 (host "),
                    HasSubstr("was killed by signal 9 (SIGKILL) in step 5 (layer 3 "
                              "down_proj, backward)"),
                    HasSubstr("the run goes on from step 4"), HasSubstr("step 6 of start 2"),
                    Not(HasSubstr("step 4 of start 2"))));
  EXPECT_THAT(job.file("logs/rank-1.log"), AllOf(HasSubstr("start 1,"), HasSubstr("start 2,")));
  EXPECT_THAT(job.file("logs/faults.jsonl"),
              AllOf(HasSubstr("\"FAULT_LOST\""), HasSubstr("\"rank\":1")));
  expect_nothing_left(job);
}

TEST(SupervisedJob, EndsWhenRestartsMakeNoProgress) {
  StartedJob job("supervise", {"fault=kill", "step=1", "attempt=0", "max_restarts=1"});
  EXPECT_EQ(job.wait(kUsual), 76) << job.log();
  EXPECT_THAT(job.log(), HasSubstr("not restarted"));
  EXPECT_EQ(job.reason().fault(), FAULT_LOST);
  EXPECT_EQ(job.reason().rank(), 1);
  EXPECT_EQ(job.reason().attempt(), 2);
  expect_nothing_left(job);
}

// A fault of kind `kind` on rank 1 in step 3, without restarts.
struct Expected {
  const char* kind;
  int exit_code;
  FaultKind fault;
  const char* words;
};

class SupervisedFault : public ::testing::TestWithParam<Expected> {};

TEST_P(SupervisedFault, HasItsCodeItsNameAndItsSentence) {
  const Expected& expected = GetParam();
  StartedJob job("supervise",
                 {std::string("fault=") + expected.kind, "max_restarts=0", "deadline=2",
                  std::string(expected.kind) == "config" ? "step=0" : "step=3"});
  EXPECT_EQ(job.wait(kUsual), expected.exit_code) << job.log();
  const Reason reason = job.reason();
  EXPECT_EQ(reason.fault(), expected.fault) << reason.DebugString();
  EXPECT_EQ(reason.exit_code(), expected.exit_code);
  EXPECT_EQ(reason.rank(), 1);
  EXPECT_THAT(reason.sentence(), HasSubstr(expected.words));
  // The last line of the log.
  const std::string log = job.log();
  EXPECT_THAT(log.substr(log.rfind('\n', log.size() - 2) + 1),
              AllOf(HasSubstr("error"), HasSubstr(reason.sentence())));
  expect_nothing_left(job);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, SupervisedFault,
    ::testing::Values(
        Expected{"kill", 76, FAULT_LOST, "was killed by signal 9"},
        Expected{"segfault", 70, FAULT_CRASH, "crashed with signal 11 (SIGSEGV) in step 3"},
        Expected{"throw", 70, FAULT_INTERNAL,
                 "in step 3 (layer 3 down_proj, backward): layer 3: a check"},
        Expected{"config", 64, FAULT_CONFIG, "while loading: train.steps: -1, expected at least 1"},
        Expected{"exit0", 70, FAULT_EARLY_EXIT, "rank 1 of 2"},
        Expected{"exit3", 70, FAULT_INTERNAL, "left with code 3 in step 3"},
        Expected{"stop", 76, FAULT_HANG, "hang: rank 1"},
        Expected{"loop", 76, FAULT_HANG, "hang: rank 1"},
        Expected{"skip", 76, FAULT_HANG, "hang: rank 1"},
        Expected{"kill_agent", 76, FAULT_LOST, "vanished"},
        Expected{"stop_agent", 76, FAULT_LOST, "not been heard of"},
        Expected{"last_words", 70, FAULT_INTERNAL, "left with code 70"},
        Expected{"grandchild", 70, FAULT_INTERNAL, "left with code 70"}),
    [](const auto& each) { return std::string(each.param.kind); });

TEST(SupervisedJob, LastWordsWithoutALineEndAreKept) {
  StartedJob job("supervise", {"fault=last_words", "max_restarts=0"});
  EXPECT_EQ(job.wait(kUsual), 70) << job.log();
  EXPECT_THAT(job.log(), HasSubstr("[rank 1] these are my last words\n"));
  EXPECT_THAT(job.file("logs/rank-1.log"), HasSubstr("these are my last words\n"));
}

TEST(SupervisedJob, AFloodOfOutputIsKeptToTheLastLine) {
  StartedJob job("supervise", {"fault=flood", "steps=4"});
  EXPECT_EQ(job.wait(40.0), 0) << job.log().substr(0, 2000);
  const std::string kept = job.file("logs/rank-1.log");
  EXPECT_THAT(kept, AllOf(HasSubstr("line 0 of a flood"), HasSubstr("line 199999 of a flood"),
                          HasSubstr("step 4 of start 1")));
  EXPECT_GE(std::ranges::count(kept, '\n'), 200000);
}

TEST(SupervisedJob, TheFirstInterruptSavesAndLeavesWith75) {
  StartedJob job("supervise", {"steps=100000"});
  ASSERT_TRUE(StartedJob::wait_for(kUsual, [&] {
    return job.log().find("step 3 of") != std::string::npos;
  })) << job.log();
  job.signal(SIGINT);
  EXPECT_EQ(job.wait(kUsual), 75) << job.log();
  EXPECT_FALSE(job.file("saved").empty());
  expect_nothing_left(job);
}

TEST(SupervisedJob, TheSecondTermEndsRanksThatDoNotLeave) {
  StartedJob job("supervise", {"fault=loop", "deadline=300"});
  ASSERT_TRUE(StartedJob::wait_for(kUsual, [&] {
    return job.log().find("step 2 of") != std::string::npos;
  })) << job.log();
  job.signal(SIGTERM);
  std::this_thread::sleep_for(std::chrono::milliseconds(500));  // signals of one kind merge
  job.signal(SIGTERM);
  EXPECT_EQ(job.wait(kUsual), 128 + SIGTERM) << job.log();
  EXPECT_THAT(job.log(), HasSubstr("second request to stop"));
  expect_nothing_left(job);
}

TEST(SupervisedJob, NothingIsLeftWhenTheSupervisorIsKilled) {
  StartedJob job("supervise", {"steps=100000"});
  ASSERT_TRUE(StartedJob::wait_for(kUsual, [&] {
    return job.log().find("step 3 of") != std::string::npos;
  })) << job.log();
  job.signal(SIGKILL);
  EXPECT_EQ(job.wait(kUsual), -SIGKILL);
  expect_nothing_left(job);
}

TEST(SupervisedJob, AnMpirunThatFailsIsQuotedAndNotStartedAgain) {
  StartedJob job("supervise", {}, {"FAKE_MPIRUN_FAILS=1"});
  EXPECT_EQ(job.wait(kUsual), 74) << job.log();
  EXPECT_EQ(job.reason().fault(), FAULT_LAUNCH);
  EXPECT_THAT(job.log(), AllOf(HasSubstr("fake mpirun: no host can be reached"),
                               HasSubstr("mpirun ended with code 213")));
}

TEST(SupervisedJob, WithoutAnMpirunItSaysWhatToInstall) {
  StartedJob job("supervise", {}, {"PATH=/nowhere"});
  EXPECT_EQ(job.wait(kUsual), 74) << job.log();
  EXPECT_EQ(job.reason().fault(), FAULT_LAUNCH);
  EXPECT_THAT(job.reason().sentence(),
              AllOf(HasSubstr("mpirun cannot be started: No such file or directory"),
                    HasSubstr("install Open MPI")));
}

// A memory control group of this machine with a limit, while it lives; not on every machine.
class LimitedGroup {
 public:
  LimitedGroup() {
    for (const auto& [root, limit] : {std::pair{"/sys/fs/cgroup/memory/", "memory.limit_in_bytes"},
                                      std::pair{"/sys/fs/cgroup/", "memory.max"}}) {
      path_ = root + std::string("molora-test-") + std::to_string(::getpid());
      std::error_code ignored;
      if (!std::filesystem::create_directory(path_, ignored)) continue;
      std::ofstream file(path_ / limit);
      file << (uint64_t{96} << 20) << std::flush;
      if (file.good()) return;
      std::filesystem::remove(path_, ignored);
    }
    path_.clear();
  }
  ~LimitedGroup() {
    std::error_code ignored;
    const auto is_gone = [&] { return path_.empty() || ::rmdir(path_.c_str()) == 0; };
    StartedJob::wait_for(5.0, is_gone);
  }
  LimitedGroup(const LimitedGroup&) = delete;
  LimitedGroup& operator=(const LimitedGroup&) = delete;
  LimitedGroup(LimitedGroup&&) = delete;
  LimitedGroup& operator=(LimitedGroup&&) = delete;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

TEST(SupervisedJob, ARankThatTheKernelKillsForMemoryIsOutOfMemory) {
  const LimitedGroup group;
  if (group.path().empty()) GTEST_SKIP() << "no memory control group can be made here";
  StartedJob job("supervise", {"fault=memory", "max_restarts=0"},
                 {"FAKE_CGROUP=" + group.path().string()});
  EXPECT_EQ(job.wait(40.0), 71) << job.log();
  EXPECT_EQ(job.reason().fault(), FAULT_MEMORY);
  EXPECT_EQ(job.reason().rank(), 1);
  EXPECT_THAT(job.reason().sentence(),
              AllOf(HasSubstr("out of memory: the kernel killed rank 1"),
                    HasSubstr(" GiB in step 3"), HasSubstr("train.micro_batch_size")));
  expect_nothing_left(job);
}

TEST(SupervisedJob, OneRankNeedsNoMpirun) {
  StartedJob job("supervise", {"ranks=1", "steps=2"}, {"FAKE_MPIRUN_FAILS=1"});
  EXPECT_EQ(job.wait(kUsual), 0) << job.log();
  EXPECT_THAT(job.log(), AllOf(HasSubstr("\nstep 2 of start 1"), Not(HasSubstr("[rank 0]"))));
  expect_nothing_left(job);
}

TEST(LoneJob, TheRankThatFailsWritesTheReasonUnderAnOwnMpirun) {
  StartedJob job("mpirun", {"fault=throw"});
  EXPECT_EQ(job.wait(kUsual), 70) << job.log();
  EXPECT_EQ(job.reason().fault(), FAULT_INTERNAL);
  EXPECT_EQ(job.reason().rank(), 1);
  EXPECT_THAT(job.log(), HasSubstr("internal fault: rank 1"));
  expect_nothing_left(job);
}

TEST(LoneJob, AHangIsNamedFromTheRecordsOfAllRanks) {
  StartedJob job("mpirun", {"fault=stop", "deadline=2"});
  EXPECT_EQ(job.wait(kUsual), 76) << job.log();
  EXPECT_EQ(job.reason().fault(), FAULT_HANG);
  EXPECT_EQ(job.reason().rank(), 1);
  EXPECT_THAT(job.log(), AllOf(HasSubstr("hang: rank 1"), HasSubstr("stopped by a signal")));
  EXPECT_TRUE(std::filesystem::exists(job.run_folder() / "logs" / "flight-rank-1.json"));
  expect_nothing_left(job);
}

TEST(LoneJob, NothingIsLeftWhenMpirunIsKilled) {
  StartedJob job("mpirun", {"steps=100000"});
  ASSERT_TRUE(StartedJob::wait_for(kUsual, [&] {
    return job.log().find("step 3 of") != std::string::npos;
  })) << job.log();
  job.signal(SIGKILL);
  job.wait(kUsual);
  expect_nothing_left(job);
}

}  // namespace
}  // namespace molora
