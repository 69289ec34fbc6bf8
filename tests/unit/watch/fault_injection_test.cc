#include "watch/fault_injection.h"

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <functional>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/captured_log.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Takes away what a test has armed.
class Armed {
 public:
  explicit Armed(const std::string& text, int rank = 0, int attempt = 1) {
    arm_faults(parse_faults(text), rank, attempt);
  }
  ~Armed() { arm_faults({}, 0, 1); }
  Armed(const Armed&) = delete;
  Armed& operator=(const Armed&) = delete;
  Armed(Armed&&) = delete;
  Armed& operator=(Armed&&) = delete;
};

// --- Reading ---

TEST(FaultText, IsReadWithAllItsSettings) {
  const auto faults = parse_faults(
      "step=7,rank=1,phase=backward,kind=kill;\n  attempt = 2, step=9, rank=0, phase=save, "
      "kind=exit, code=3;rank=2,phase=load,kind=slow,seconds=0.25;"
      "step=1,rank=0,phase=sync,kind=memory,mib=4096,attempt=0;");
  ASSERT_EQ(faults.size(), 4u);
  EXPECT_EQ(faults[0].step, 7);
  EXPECT_EQ(faults[0].rank, 1);
  EXPECT_EQ(faults[0].phase, FaultPhase::kBackward);
  EXPECT_EQ(faults[0].kind, InjectedKind::kKill);
  EXPECT_EQ(faults[0].attempt, 1);
  EXPECT_EQ(faults[1].attempt, 2);
  EXPECT_EQ(faults[1].step, 9);
  EXPECT_EQ(faults[1].phase, FaultPhase::kSave);
  EXPECT_EQ(faults[1].kind, InjectedKind::kExit);
  EXPECT_EQ(faults[1].code, 3);
  EXPECT_EQ(faults[2].phase, FaultPhase::kLoad);
  EXPECT_EQ(faults[2].kind, InjectedKind::kSlow);
  EXPECT_EQ(faults[2].seconds, 0.25);
  EXPECT_EQ(faults[3].kind, InjectedKind::kMemory);
  EXPECT_EQ(faults[3].mib, 4096u);
  EXPECT_EQ(faults[3].attempt, 0);
}

TEST(FaultText, EveryPhaseAndKindHasItsName) {
  const std::vector<std::pair<std::string, FaultPhase>> phases = {
      {"load", FaultPhase::kLoad},         {"forward", FaultPhase::kForward},
      {"backward", FaultPhase::kBackward}, {"sync", FaultPhase::kSync},
      {"update", FaultPhase::kUpdate},     {"evaluate", FaultPhase::kEvaluate},
      {"save", FaultPhase::kSave}};
  for (const auto& [name, phase] : phases) {
    EXPECT_EQ(parse_faults("step=1,rank=0,kind=throw,phase=" + name)[0].phase, phase) << name;
  }
  const std::vector<std::pair<std::string, InjectedKind>> kinds = {
      {"kill", InjectedKind::kKill},         {"stop", InjectedKind::kStop},
      {"exit", InjectedKind::kExit},         {"throw", InjectedKind::kThrow},
      {"segfault", InjectedKind::kSegfault}, {"nan", InjectedKind::kNan},
      {"bitflip", InjectedKind::kBitflip},   {"slow", InjectedKind::kSlow},
      {"skip", InjectedKind::kSkip},         {"memory", InjectedKind::kMemory}};
  for (const auto& [name, kind] : kinds) {
    EXPECT_EQ(parse_faults("step=1,rank=0,phase=backward,kind=" + name)[0].kind, kind) << name;
  }
}

TEST(FaultText, NothingIsNoFault) {
  EXPECT_TRUE(parse_faults("").empty());
  EXPECT_TRUE(parse_faults(" ;\n; ").empty());
}

TEST(FaultText, AWrongWordIsNamedWithWhatThereIs) {
  EXPECT_THROW_WITH(parse_faults("step=1,rank=0,kind=kill,phase=foward"), ConfigError,
                    "MOLORA_FAULT, in 'step=1,rank=0,kind=kill,phase=foward': 'foward': there is "
                    "no such phase, did you mean 'forward'?; there are load, forward, backward, "
                    "sync, update, evaluate, save");
  EXPECT_THROW_WITH(parse_faults("step=1,rank=0,phase=save,kind=explode"), ConfigError,
                    "'explode': there is no such kind; there are kill, stop, exit, throw, "
                    "segfault, nan, bitflip, slow, skip, memory");
  EXPECT_THROW_WITH(parse_faults("setp=1,rank=0"), ConfigError,
                    "'setp': there is no such setting, did you mean 'step'?; there are step, rank, "
                    "phase, kind, attempt, code, seconds, mib");
  EXPECT_THROW_WITH(parse_faults("kill"), ConfigError, "'kill': expected name=value");
}

TEST(FaultText, AWrongNumberIsNamed) {
  const std::string fault = "rank=0,phase=sync,kind=slow,";
  EXPECT_THROW_WITH(parse_faults(fault + "step=0"), ConfigError,
                    "'0': expected a number from 1 to 1000000000");
  EXPECT_THROW_WITH(parse_faults(fault + "step=7x"), ConfigError, "'7x': expected a number");
  EXPECT_THROW_WITH(parse_faults(fault + "step="), ConfigError, "'': expected a number");
  EXPECT_THROW_WITH(parse_faults(fault + "step=1,seconds=nan"), ConfigError,
                    "'nan': expected a number from 0 to 1000000");
  EXPECT_THROW_WITH(parse_faults("step=1,phase=sync,kind=kill,rank=-1"), ConfigError,
                    "'-1': expected a number from 0");
}

TEST(FaultText, WhatIsMissingOrDoesNotFitIsSaid) {
  EXPECT_THROW_WITH(parse_faults("step=1,rank=0,phase=sync"), ConfigError, "'kind': is missing");
  EXPECT_THROW_WITH(parse_faults("step=1,rank=0,kind=kill"), ConfigError, "'phase': is missing");
  EXPECT_THROW_WITH(parse_faults("step=1,phase=sync,kind=kill"), ConfigError, "'rank': is missing");
  EXPECT_THROW_WITH(parse_faults("rank=1,phase=sync,kind=kill"), ConfigError, "'step': is missing");
  EXPECT_THROW_WITH(parse_faults("step=1,step=2,rank=1,phase=sync,kind=kill"), ConfigError,
                    "'step': is there twice");
  EXPECT_THROW_WITH(parse_faults("step=1,rank=1,phase=sync,kind=nan"), ConfigError,
                    "'nan': gradients are there in phase backward only");
  EXPECT_THROW_WITH(parse_faults("step=1,rank=1,phase=sync,kind=kill,code=3"), ConfigError,
                    "'code': goes with kind=exit only");
  EXPECT_THROW_WITH(parse_faults("step=1,rank=1,phase=sync,kind=kill,seconds=3"), ConfigError,
                    "'seconds': goes with kind=slow only");
  EXPECT_THROW_WITH(parse_faults("step=1,rank=1,phase=sync,kind=kill,mib=3"), ConfigError,
                    "'mib': goes with kind=memory only");
}

// --- When ---

TEST(FaultPoint, AFaultHappensOnceAtItsPoint) {
  const testing::CapturedLog log;
  const Armed armed("step=3,rank=0,phase=sync,kind=throw");
  fault_point(FaultPhase::kSync, 2);
  fault_point(FaultPhase::kUpdate, 3);
  EXPECT_THROW_WITH(fault_point(FaultPhase::kSync, 3), InternalError,
                    "thrown on request (MOLORA_FAULT): throw in step 3, phase sync");
  fault_point(FaultPhase::kSync, 3);
}

TEST(FaultPoint, OtherRanksAndAttemptsAreSpared) {
  const testing::CapturedLog log;
  const std::string fault = "step=1,rank=1,phase=sync,kind=throw,attempt=2";
  for (const auto& [rank, attempt] : {std::pair(0, 2), std::pair(1, 1), std::pair(1, 3)}) {
    const Armed armed(fault, rank, attempt);
    fault_point(FaultPhase::kSync, 1);
  }
  const Armed armed(fault, 1, 2);
  EXPECT_THROW(fault_point(FaultPhase::kSync, 1), InternalError);
}

TEST(FaultPoint, AttemptZeroIsEveryOne) {
  const testing::CapturedLog log;
  for (const int attempt : {1, 2, 7}) {
    const Armed armed("step=1,rank=0,phase=sync,kind=throw,attempt=0", 0, attempt);
    EXPECT_THROW(fault_point(FaultPhase::kSync, 1), InternalError);
  }
}

TEST(FaultPoint, LoadHasNoStep) {
  const testing::CapturedLog log;
  const Armed armed("rank=0,phase=load,kind=throw");
  EXPECT_THROW_WITH(fault_point(FaultPhase::kLoad, 0), InternalError, "throw in phase load");
}

TEST(FaultPoint, ArmingAgainTakesAllAway) {
  const testing::CapturedLog log;
  arm_faults(parse_faults("step=1,rank=0,phase=sync,kind=skip;step=1,rank=0,phase=backward,"
                          "kind=nan;step=1,rank=0,phase=update,kind=throw"),
             0, 1);
  fault_point(FaultPhase::kSync, 1);
  fault_point(FaultPhase::kBackward, 1);
  arm_faults({}, 0, 1);
  fault_point(FaultPhase::kUpdate, 1);
  EXPECT_FALSE(take_skip());
  EXPECT_FALSE(take_gradient_fault().has_value());
}

TEST(FaultPoint, WhatIsToComeAndWhatHappensIsLogged) {
  const testing::CapturedLog log;
  const Armed armed("step=2,rank=1,phase=save,kind=slow,seconds=0", 1);
  EXPECT_THAT(log.text(), HasSubstr("rank 1 is to have a fault: slow in step 2, phase save"));
  EXPECT_THAT(log.text(), Not(HasSubstr("now slow")));
  fault_point(FaultPhase::kSave, 2);
  EXPECT_THAT(log.text(), HasSubstr("MOLORA_FAULT: now slow in step 2, phase save"));
}

TEST(FaultPoint, EachThreadHasItsOwn) {
  const testing::CapturedLog log;
  const Armed armed("step=1,rank=0,phase=sync,kind=throw");
  std::thread([] { fault_point(FaultPhase::kSync, 1); }).join();
  EXPECT_THROW(fault_point(FaultPhase::kSync, 1), InternalError);
}

// --- What ---

TEST(InjectedFaults, AGradientFaultIsTakenOnce) {
  const testing::CapturedLog log;
  for (const auto& [name, kind] :
       {std::pair("nan", InjectedKind::kNan), std::pair("bitflip", InjectedKind::kBitflip)}) {
    const Armed armed(std::string("step=1,rank=0,phase=backward,kind=") + name);
    EXPECT_FALSE(take_gradient_fault().has_value());
    fault_point(FaultPhase::kBackward, 1);
    EXPECT_EQ(take_gradient_fault(), kind);
    EXPECT_FALSE(take_gradient_fault().has_value());
  }
}

TEST(InjectedFaults, ASkipIsTakenOnce) {
  const testing::CapturedLog log;
  const Armed armed("step=1,rank=0,phase=forward,kind=skip");
  EXPECT_FALSE(take_skip());
  fault_point(FaultPhase::kForward, 1);
  EXPECT_TRUE(take_skip());
  EXPECT_FALSE(take_skip());
}

TEST(InjectedFaults, SlowTakesItsTime) {
  const testing::CapturedLog log;
  const Armed armed("step=1,rank=0,phase=forward,kind=slow,seconds=0.05");
  const auto begun = std::chrono::steady_clock::now();
  fault_point(FaultPhase::kForward, 1);
  EXPECT_GE(std::chrono::steady_clock::now() - begun, std::chrono::milliseconds(50));
}

long resident_mib() {
  std::ifstream file("/proc/self/statm");
  long total = 0;
  long resident = 0;
  file >> total >> resident;
  return resident * (::sysconf(_SC_PAGESIZE) / 1024) / 1024;
}

TEST(InjectedFaults, MemoryIsTakenAndKept) {
  const testing::CapturedLog log;
  std::thread([] {
    const Armed armed("step=1,rank=0,phase=forward,kind=memory,mib=100");
    const long before = resident_mib();
    fault_point(FaultPhase::kForward, 1);
    EXPECT_GE(resident_mib() - before, 95);
  }).join();
}

// How a child process ends, or stops, at a fault of this kind; as waitpid() tells.
int status_at(const std::string& settings) {
  const testing::CapturedLog log;
  const pid_t child = ::fork();
  if (child == 0) {
    for (const int signal : {SIGSEGV, SIGABRT}) std::signal(signal, SIG_DFL);
    arm_faults(parse_faults("step=4,rank=2,phase=evaluate," + settings), 2, 1);
    fault_point(FaultPhase::kEvaluate, 4);
    ::_exit(99);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, WUNTRACED), child);
  if (WIFSTOPPED(status)) {
    int end = 0;
    ::kill(child, SIGCONT);
    EXPECT_EQ(::waitpid(child, &end, 0), child);
    EXPECT_TRUE(WIFEXITED(end));
    EXPECT_EQ(WEXITSTATUS(end), 99) << "goes on after CONT";
  }
  return status;
}

TEST(InjectedFaults, KillEndsTheProcess) {
  const int status = status_at("kind=kill");
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
}

TEST(InjectedFaults, StopStopsTheProcess) {
  const int status = status_at("kind=stop");
  ASSERT_TRUE(WIFSTOPPED(status));
  EXPECT_EQ(WSTOPSIG(status), SIGSTOP);
}

TEST(InjectedFaults, ExitLeavesWithItsCode) {
  for (const int code : {0, 3, 255}) {
    const int status = status_at("kind=exit,code=" + std::to_string(code));
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), code);
  }
}

TEST(InjectedFaults, SegfaultIsOne) {
  const int status = status_at("kind=segfault");
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGSEGV);
}

}  // namespace
}  // namespace molora
