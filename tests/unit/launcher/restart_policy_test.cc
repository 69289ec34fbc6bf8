#include "launcher/supervise/restart_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

bool always(const std::set<std::string>& /*hosts*/) { return true; }
bool never(const std::set<std::string>& /*hosts*/) { return false; }

SupervisorConfig config(uint32_t max_restarts = 3) {
  SupervisorConfig config;
  config.set_max_restarts(max_restarts);
  config.set_restart_delay(5);
  config.set_max_restart_delay(12);
  config.set_failures_of_host(2);
  return config;
}

AttemptEnd end_at(int64_t saved_step, FaultKind fault = FAULT_CRASH,
                  std::optional<std::string> host = std::nullopt) {
  return {fault, saved_step, std::move(host), false};
}

TEST(RestartPolicy, PermanentFaultsAreNeverRestarted) {
  for (const FaultKind fault :
       {FAULT_CONFIG, FAULT_DATA, FAULT_STORAGE, FAULT_NUMERICS, FAULT_LAUNCH}) {
    RestartPolicy policy(config(), 0);
    const RestartDecision decision = policy.decide(end_at(10, fault), always);
    EXPECT_EQ(decision.kind, RestartDecision::kEnd);
    EXPECT_THAT(decision.why, HasSubstr("would come back"));
  }
}

TEST(RestartPolicy, OtherFaultsAreRestarted) {
  for (const FaultKind fault :
       {FAULT_INTERNAL, FAULT_CRASH, FAULT_MEMORY, FAULT_LOST, FAULT_HANG, FAULT_EARLY_EXIT}) {
    RestartPolicy policy(config(), 0);
    EXPECT_EQ(policy.decide(end_at(0, fault), always).kind, RestartDecision::kRestart);
  }
}

TEST(RestartPolicy, NothingIsRestartedAfterARequestToStopOrWhenDone) {
  RestartPolicy policy(config(), 0);
  AttemptEnd end = end_at(10);
  end.is_stop_requested = true;
  const RestartDecision asked = policy.decide(end, always);
  EXPECT_EQ(asked.kind, RestartDecision::kEnd);
  EXPECT_EQ(asked.why, "not restarted: a stop was asked for");
  const RestartDecision done = policy.decide(end_at(10, FAULT_NONE), always);
  EXPECT_EQ(done.kind, RestartDecision::kEnd);
  EXPECT_EQ(done.why, "not restarted: the run is done");
}

TEST(RestartPolicy, TheBudgetEndsWithoutProgress) {
  RestartPolicy policy(config(2), 10);
  EXPECT_EQ(policy.decide(end_at(10), always).why,
            "restarted in 5 s: restart 1 of 2 without a new checkpoint");
  EXPECT_EQ(policy.decide(end_at(10), always).why,
            "restarted in 10 s: restart 2 of 2 without a new checkpoint");
  const RestartDecision last = policy.decide(end_at(10), always);
  EXPECT_EQ(last.kind, RestartDecision::kEnd);
  EXPECT_EQ(last.why,
            "not restarted: started again 2 times without a checkpoint newer than step 10 "
            "(supervisor.max_restarts 2)");
}

TEST(RestartPolicy, ProgressGivesTheBudgetBack) {
  RestartPolicy policy(config(1), 0);
  for (int64_t step = 10; step <= 200; step += 10) {
    const RestartDecision decision = policy.decide(end_at(step), always);
    EXPECT_EQ(decision.kind, RestartDecision::kRestart);
    EXPECT_EQ(decision.delay_seconds, 5);
    EXPECT_THAT(decision.why, HasSubstr("was saved since the last start"));
  }
  EXPECT_EQ(policy.decide(end_at(200), always).kind, RestartDecision::kEnd);
}

TEST(RestartPolicy, ABudgetOfNothingIsNone) {
  RestartPolicy policy(config(0), 0);
  const RestartDecision decision = policy.decide(end_at(10), always);
  EXPECT_EQ(decision.kind, RestartDecision::kEnd);
  EXPECT_EQ(decision.why, "not restarted: supervisor.max_restarts is 0");
}

TEST(RestartPolicy, TheDelayDoublesUpToItsBound) {
  RestartPolicy policy(config(100), 0);
  EXPECT_EQ(policy.decide(end_at(0), always).delay_seconds, 5);
  EXPECT_EQ(policy.decide(end_at(0), always).delay_seconds, 10);
  for (int i = 0; i < 98; ++i) EXPECT_EQ(policy.decide(end_at(0), always).delay_seconds, 12);
}

TEST(RestartPolicy, OutOfMemoryIsRestartedOnceWithoutProgress) {
  RestartPolicy policy(config(10), 0);
  EXPECT_EQ(policy.decide(end_at(0, FAULT_MEMORY), always).kind, RestartDecision::kRestart);
  EXPECT_EQ(policy.decide(end_at(0, FAULT_LOST), always).kind, RestartDecision::kRestart);
  const RestartDecision again = policy.decide(end_at(0, FAULT_MEMORY), always);
  EXPECT_EQ(again.kind, RestartDecision::kEnd);
  EXPECT_THAT(again.why, HasSubstr("out of memory again without a new checkpoint"));
}

TEST(RestartPolicy, OutOfMemoryIsRestartedAgainAfterProgress) {
  RestartPolicy policy(config(10), 0);
  EXPECT_EQ(policy.decide(end_at(5, FAULT_MEMORY), always).kind, RestartDecision::kRestart);
  EXPECT_EQ(policy.decide(end_at(6, FAULT_MEMORY), always).kind, RestartDecision::kRestart);
}

TEST(RestartPolicy, AHostThatKeepsFailingIsLeftOut) {
  RestartPolicy policy(config(), 0);
  EXPECT_THAT(policy.decide(end_at(0, FAULT_LOST, "b"), always).left_out, IsEmpty());
  const RestartDecision second = policy.decide(end_at(0, FAULT_LOST, "b"), always);
  EXPECT_EQ(second.kind, RestartDecision::kRestart);
  EXPECT_THAT(second.left_out, ElementsAre("b"));
  EXPECT_THAT(second.why, HasSubstr("host b has failed 2 times in a row and is left out; "));
  EXPECT_THAT(policy.decide(end_at(5, FAULT_LOST, "a"), always).left_out, ElementsAre("b"));
}

TEST(RestartPolicy, AHostThatTheJobNeedsStaysIn) {
  RestartPolicy policy(config(), 0);
  policy.decide(end_at(0, FAULT_LOST, "b"), never);
  const RestartDecision second = policy.decide(end_at(0, FAULT_LOST, "b"), never);
  EXPECT_EQ(second.kind, RestartDecision::kRestart);
  EXPECT_THAT(second.left_out, IsEmpty());
  EXPECT_THAT(
      second.why,
      HasSubstr("host b has failed 2 times in a row, but the job has no layout without it"));
}

TEST(RestartPolicy, TheJobIsAskedAboutAllHostsThatItMustDoWithout) {
  RestartPolicy policy(config(100), 0);
  std::set<std::string> asked;
  const auto ask = [&](const std::set<std::string>& hosts) {
    asked = hosts;
    return true;
  };
  for (const char* host : {"a", "a", "b", "b"}) policy.decide(end_at(0, FAULT_LOST, host), ask);
  EXPECT_THAT(asked, ElementsAre("a", "b"));
}

TEST(RestartPolicy, OnlyFailuresInARowCountForAHost) {
  RestartPolicy policy(config(100), 0);
  policy.decide(end_at(0, FAULT_LOST, "b"), always);
  policy.decide(end_at(0, FAULT_LOST, "a"), always);
  EXPECT_THAT(policy.decide(end_at(0, FAULT_LOST, "b"), always).left_out, IsEmpty());
  policy.decide(end_at(0, FAULT_HANG), always);  // of nobody
  EXPECT_THAT(policy.decide(end_at(0, FAULT_LOST, "b"), always).left_out, IsEmpty());
  EXPECT_THAT(policy.decide(end_at(7, FAULT_LOST, "b"), always).left_out, IsEmpty());  // progress
  EXPECT_THAT(policy.decide(end_at(7, FAULT_LOST, "b"), always).left_out, ElementsAre("b"));
}

TEST(RestartPolicy, OneFailureIsEnoughWhereTheUserSaysSo) {
  SupervisorConfig strict = config();
  strict.set_failures_of_host(1);
  RestartPolicy policy(strict, 0);
  const RestartDecision decision = policy.decide(end_at(0, FAULT_LOST, "b"), always);
  EXPECT_THAT(decision.left_out, ElementsAre("b"));
  EXPECT_THAT(decision.why, HasSubstr("host b has failed once and is left out"));
}

TEST(RestartPolicy, HostsThatDoNotAnswerAreGivenUp) {
  RestartPolicy policy(config(), 0);
  policy.decide(end_at(0, FAULT_LOST, "b"), always);
  const RestartDecision decision = policy.give_up_hosts({"b", "c"}, always);
  EXPECT_EQ(decision.kind, RestartDecision::kRestart);
  EXPECT_EQ(decision.delay_seconds, 0);
  EXPECT_THAT(decision.left_out, ElementsAre("b", "c"));
  EXPECT_EQ(decision.why, "restarted without them: b, c have not answered for 600 s");
  EXPECT_THAT(policy.decide(end_at(0), always).left_out, ElementsAre("b", "c"));
}

TEST(RestartPolicy, TheRunEndsWithAHostThatItCannotDoWithout) {
  RestartPolicy policy(config(), 0);
  policy.decide(end_at(0, FAULT_LOST, "b"), always);
  const RestartDecision decision = policy.give_up_hosts({"b"}, never);
  EXPECT_EQ(decision.kind, RestartDecision::kEnd);
  EXPECT_EQ(decision.why,
            "not restarted: b has not answered for 600 s, and the job has no layout without it");
  EXPECT_THROW_WITH((void)policy.give_up_hosts({}, never), InternalError, "unreachable");
}

}  // namespace
}  // namespace molora
