#include "launcher/supervise/child_process.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "launcher/agent/worker_process.h"
#include "launcher/system/signal_queue.h"
#include "support/expect_throw.h"
#include "support/few_descriptors.h"

namespace molora {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;

ChildProcess::Start shell(const std::string& script) {
  ChildProcess::Start start;
  start.command.words = {"sh", "-c", script};
  ::sigprocmask(SIG_BLOCK, nullptr, &start.signal_mask);
  return start;
}

bool wait_for(const std::function<bool()>& is_so) {
  for (int i = 0; i < 1000 && !is_so(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return is_so();
}

// All that it prints, and its exit code.
std::pair<std::string, int> run(const ChildProcess::Start& start) {
  ChildProcess child(start);
  std::string text;
  EXPECT_TRUE(wait_for([&] {
    text += child.out().take_lines();
    return child.out().descriptor() < 0 && child.exit_code().has_value();
  }));
  return {text + child.out().take_rest(), child.exit_code().value_or(-1)};
}

TEST(ChildProcess, TellsWhatItPrintsAndHowItEnds) {
  EXPECT_EQ(run(shell("echo one; printf two; exit 3")), std::make_pair(std::string("one\ntwo"), 3));
  EXPECT_EQ(run(shell("kill -9 $$")).second, 128 + SIGKILL);
}

TEST(ChildProcess, NamesTheProgramThatIsNotThere) {
  ChildProcess::Start start = shell("");
  start.command.words = {"molora-has-no-such-program"};
  EXPECT_THROW_WITH(ChildProcess{start}, IoError,
                    "molora-has-no-such-program cannot be started: No such file or directory");
}

TEST(ChildProcess, NamesTheSystemsReasonWhenThereAreNoPipes) {
  const ChildProcess::Start start = shell("");
  const testing::NoDescriptors none;
  EXPECT_THROW_WITH(ChildProcess{start}, IoError, "no pipe: Too many open files");
}

TEST(ChildProcess, SetsVariablesThatTheUserHasNotSet) {
  ::setenv("MOLORA_TEST_SET", "by the user", 1);
  ::setenv("MOLORA_TEST_GONE", "x", 1);
  ChildProcess::Start start =
      shell("echo $MOLORA_TEST_SET,$MOLORA_TEST_NEW,$MOLORA_TEST_FORCED,$MOLORA_TEST_GONE");
  start.command.environment = {{"MOLORA_TEST_SET", "by us", ""}, {"MOLORA_TEST_NEW", "new", ""}};
  ::setenv("MOLORA_TEST_FORCED", "by the user", 1);
  start.forced = {{"MOLORA_TEST_FORCED", "forced", ""}};
  start.unset = {"MOLORA_TEST_GONE"};
  EXPECT_EQ(run(start).first, "by the user,new,forced,\n");
}

TEST(ChildProcess, ReadsNothingUnlessItIsToHaveOurInput) {
  EXPECT_EQ(run(shell("cat; echo end")).first, "end\n");
}

TEST(ChildProcess, HasAGroupOfItsOwnThatGetsSignals) {
  ChildProcess child(shell("sleep 100 & echo $!; wait"));
  std::string line;
  ASSERT_TRUE(wait_for([&] { return !(line += child.out().take_lines()).empty(); }));
  const pid_t grandchild = std::stoi(line);
  EXPECT_NE(::getpgid(grandchild), ::getpgrp());
  child.signal_group(SIGKILL);
  EXPECT_TRUE(wait_for([&] { return child.exit_code().has_value(); }));
  EXPECT_EQ(child.exit_code(), 128 + SIGKILL);
}

TEST(ChildProcess, DefaultsOfSignalsAreNotThoseOfItsParent) {
  const auto before = ::signal(SIGPIPE, SIG_IGN);
  EXPECT_EQ(run(shell("kill -PIPE $$; echo survived")).second, 128 + SIGPIPE);
  ::signal(SIGPIPE, before);
}

TEST(Descendants, AreFoundAndEndedWhoeverTheirParentsAre) {
  // In a process of its own: it adopts, and ends everything.
  const pid_t supervisor = ::fork();
  if (supervisor == 0) {
    adopt_orphans();
    ChildProcess child(shell("(setsid sleep 100 & setsid sleep 100 &) ; exit 0"));
    const bool has_orphans =
        wait_for([&] { return child.exit_code().has_value() && descendants().size() == 2; });
    const bool is_clean = kill_descendants(5.0) && descendants().empty();
    ::_exit((has_orphans ? 0 : 1) + (is_clean ? 0 : 2));
  }
  int status = 0;
  ::waitpid(supervisor, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(SignalQueue, HasSignalsWaitAndGivesTheMaskBack) {
  sigset_t mask;
  {
    SignalQueue queue(std::array{SIGUSR2});
    EXPECT_FALSE(queue.next().has_value());
    ::raise(SIGUSR2);
    EXPECT_EQ(queue.next(), SIGUSR2);
    EXPECT_FALSE(queue.next().has_value());
    ::pthread_sigmask(SIG_BLOCK, nullptr, &mask);
    EXPECT_EQ(sigismember(&mask, SIGUSR2), 1);
    EXPECT_EQ(sigismember(&queue.mask_before(), SIGUSR2), 0);
  }
  ::pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  EXPECT_EQ(sigismember(&mask, SIGUSR2), 0);
}

TEST(SignalQueue, NamesTheSystemsReasonWhenThereIsNoDescriptor) {
  sigset_t before;
  ::pthread_sigmask(SIG_BLOCK, nullptr, &before);
  {
    const testing::NoDescriptors none;
    EXPECT_THROW_WITH(SignalQueue(std::array{SIGUSR2}), IoError,
                      "no signalfd: Too many open files");
  }
  sigset_t after;
  ::pthread_sigmask(SIG_BLOCK, nullptr, &after);
  EXPECT_EQ(sigismember(&after, SIGUSR2), sigismember(&before, SIGUSR2));
}

TEST(OutputPipe, LinesAreWholeAndLongOnesComeInPieces) {
  PipeEnds ends = make_pipe();
  OutputPipe pipe(std::move(ends.read));
  EXPECT_EQ(::write(ends.write.get(), "one\ntw", 6), 6);
  EXPECT_EQ(pipe.take_lines(), "one\n");
  EXPECT_EQ(::write(ends.write.get(), "o\n", 2), 2);
  EXPECT_EQ(pipe.take_lines(), "two\n");
  const std::string half(40000, 'x');
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(::write(ends.write.get(), half.data(), half.size()), 40000);
    EXPECT_EQ(pipe.take_lines(), i == 0 ? "" : half + half);
  }
  EXPECT_EQ(::write(ends.write.get(), "rest", 4), 4);
  ends.write.reset();
  EXPECT_EQ(pipe.take_lines(), "");
  EXPECT_EQ(pipe.descriptor(), -1);
  EXPECT_EQ(pipe.take_rest(), "rest");
}

TEST(OutputPipe, NamesTheSystemsReasonWhenItCannotBeRead) {
  EXPECT_THROW_WITH(OutputPipe(FileDescriptor(100000)), IoError,
                    "cannot be read without blocking: Bad file descriptor");
}

// A child that runs `work` as its agent sees it.
pid_t fork_worker(const std::function<void()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::setpgid(0, 0);
    work();
    ::_exit(0);
  }
  ::setpgid(child, child);
  return child;
}

RankState::Process state_of(WorkerProcess& process) {
  process.look();
  RankState state;
  process.describe(state);
  return state.process();
}

TEST(WorkerProcess, SeesThatItIsStoppedAndGoesOnAndIsKilled) {
  WorkerProcess process(fork_worker([] {
    while (true) ::pause();
  }));
  EXPECT_EQ(state_of(process), RankState::running);
  process.signal(SIGSTOP);
  EXPECT_TRUE(wait_for([&] { return state_of(process) == RankState::stopped; }));
  process.signal(SIGCONT);
  EXPECT_TRUE(wait_for([&] { return state_of(process) == RankState::running; }));
  process.kill();
  EXPECT_TRUE(wait_for([&] { return state_of(process) == RankState::ended; }));
  EXPECT_EQ(process.departure().signal(), SIGKILL);
  EXPECT_FALSE(process.departure().is_out_of_memory());
  EXPECT_EQ(process.exit_code(), 128 + SIGKILL);
}

TEST(WorkerProcess, KnowsItsCodeAndItsMemory) {
  WorkerProcess process(fork_worker([] { ::_exit(64); }));
  EXPECT_TRUE(wait_for([&] { return state_of(process) == RankState::ended; }));
  EXPECT_EQ(process.exit_code(), 64);
  EXPECT_EQ(process.departure().exit_code(), 64);
  EXPECT_GT(process.departure().peak_memory_bytes(), uint64_t{100} << 10);
}

TEST(WorkerProcess, HoldsARequestToStopBackUntilTheWorkerHandlesIt) {
  PipeEnds go = make_pipe();
  WorkerProcess process(fork_worker([&go] {
    char ready = 0;
    if (::read(go.read.get(), &ready, 1) != 1) ::_exit(1);
    ::signal(SIGUSR1, [](int) { ::_exit(75); });
    while (true) ::pause();
  }));
  process.signal(SIGUSR1);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(state_of(process), RankState::running);
  ASSERT_EQ(::write(go.write.get(), "x", 1), 1);
  EXPECT_TRUE(wait_for([&] { return state_of(process) == RankState::ended; }));
  EXPECT_EQ(process.exit_code(), 75);
}

}  // namespace
}  // namespace molora
