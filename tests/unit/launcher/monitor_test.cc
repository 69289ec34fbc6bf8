#include "launcher/supervise/monitor.h"

#include <signal.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace molora {
namespace {

using ::testing::HasSubstr;
using Action = Monitor::Action;

// Two ranks, a heartbeat of 10 s, a start deadline of 100 s, a step deadline of 60 s.
class Job {
 public:
  explicit Job(int attempt = 1) : monitor(options(attempt), 0.0) {}

  void greet_all(double now) {
    for (const uint32_t rank : {0U, 1U}) greet(rank, now);
  }
  void greet(uint32_t rank, double now) {
    AgentHello hello;
    hello.set_rank(rank);
    hello.set_host(rank == 0 ? "a" : "b");
    monitor.hello(hello, now);
  }
  static RankState state(int rank, double seconds_since_progress = 0.0, int64_t saved_step = 5) {
    RankState state;
    state.set_rank(static_cast<uint32_t>(rank));
    state.set_phase(PHASE_STEP);
    state.set_step(7);
    state.set_saved_step(saved_step);
    state.set_deadline(60.0);
    state.set_seconds_since_progress(seconds_since_progress);
    return state;
  }
  void beat_all(double now) {
    for (const int rank : {0, 1}) monitor.state(rank, state(rank), now);
  }
  void leave(int rank, double now, int code, Phase phase = PHASE_FINISH) {
    RankState last = state(rank);
    last.set_phase(phase);
    monitor.state(rank, last, now);
    Departure departure;
    departure.set_exit_code(code);
    monitor.departure(rank, departure, now);
  }
  void end_by(int rank, double now, int signal) {
    Departure departure;
    departure.set_signal(signal);
    monitor.departure(rank, departure, now);
  }

  size_t num_compared = 0;
  Divergence divergence;
  Monitor monitor;

 private:
  Monitor::Options options(int attempt) {
    Monitor::Options options;
    options.world_size = 2;
    options.attempt = attempt;
    options.heartbeat_timeout = 10.0;
    options.start_deadline = 100.0;
    options.hosts = {"a", "b"};
    options.launcher = "mpirun";
    options.compare = [this](std::span<const RankRecord> records, int) {
      num_compared = records.size();
      return divergence;
    };
    return options;
  }
};

TEST(Monitor, IsOverWellWhenAllHaveLeftWithZero) {
  Job job;
  job.greet_all(1.0);
  job.beat_all(2.0);
  job.leave(0, 3.0, 0);
  EXPECT_EQ(job.monitor.tick(3.0), Action::kNothing);
  job.leave(1, 4.0, 0);
  EXPECT_EQ(job.monitor.tick(4.0), Action::kEnd);
  EXPECT_FALSE(job.monitor.reason().has_value());
  EXPECT_EQ(job.monitor.exit_code(), 0);
}

TEST(Monitor, AStopAfterASaveIsAGoodEndWith75) {
  Job job;
  job.greet_all(1.0);
  job.leave(0, 3.0, 75, PHASE_SAVE);
  job.leave(1, 3.5, 75, PHASE_SAVE);
  EXPECT_EQ(job.monitor.tick(4.0), Action::kEnd);
  EXPECT_FALSE(job.monitor.reason().has_value());
  EXPECT_EQ(job.monitor.exit_code(), 75);
}

TEST(Monitor, GivesTheOthersTwoSecondsToSayMore) {
  Job job;
  job.greet_all(1.0);
  job.beat_all(2.0);
  job.end_by(1, 3.0, SIGKILL);
  EXPECT_EQ(job.monitor.tick(3.0), Action::kNothing);
  EXPECT_EQ(job.monitor.tick(4.9), Action::kNothing);
  EXPECT_EQ(job.monitor.tick(5.1), Action::kEnd);
  ASSERT_TRUE(job.monitor.reason().has_value());
  EXPECT_EQ(job.monitor.reason()->fault(), FAULT_LOST);
  EXPECT_EQ(job.monitor.reason()->rank(), 1);
  EXPECT_EQ(job.monitor.reason()->host(), "b");
  EXPECT_EQ(job.monitor.reason()->step(), 8);
  EXPECT_EQ(job.monitor.reason()->saved_step(), 5);
  EXPECT_EQ(job.monitor.exit_code(), 76);
}

TEST(Monitor, DecidesAtOnceWhenNobodyIsLeftToSayMore) {
  Job job;
  job.greet_all(1.0);
  job.beat_all(2.0);
  job.end_by(1, 3.0, SIGSEGV);
  job.monitor.tick(3.0);
  job.end_by(0, 3.1, SIGTERM);
  EXPECT_EQ(job.monitor.tick(3.1), Action::kEnd);
  EXPECT_EQ(job.monitor.reason()->fault(), FAULT_CRASH);
}

TEST(Monitor, TheWorkersOwnWordMayComeBeforeItsEnd) {
  Job job;
  job.greet_all(1.0);
  Departure word;
  word.set_fault(FAULT_DATA);
  word.set_message("line 3 is no JSON");
  word.set_exit_code(64);
  job.monitor.departure(0, word, 2.0);
  word.set_signal(SIGKILL);
  job.monitor.departure(0, word, 2.5);
  job.end_by(1, 3.0, SIGKILL);
  EXPECT_EQ(job.monitor.tick(3.0), Action::kEnd);
  EXPECT_EQ(job.monitor.reason()->fault(), FAULT_DATA);
  EXPECT_EQ(job.monitor.reason()->rank(), 0);
}

TEST(Monitor, AnExitWithZeroIsEarlyWhenTheOthersDoNotFollow) {
  Job job;
  job.greet_all(1.0);
  job.leave(0, 3.0, 0, PHASE_STEP);
  for (const double now : {3.0, 7.9}) {
    job.monitor.state(1, Job::state(1), now);
    EXPECT_EQ(job.monitor.tick(now), Action::kNothing);
  }
  job.monitor.tick(8.1);
  job.monitor.state(1, Job::state(1), 10.0);
  EXPECT_EQ(job.monitor.tick(10.2), Action::kEnd);
  EXPECT_EQ(job.monitor.reason()->fault(), FAULT_EARLY_EXIT);
  EXPECT_THAT(job.monitor.reason()->sentence(), HasSubstr("rank 0 of 2 (host a) left with code 0"));
}

TEST(Monitor, AnExitAfterTheLastStepMayBeFarAheadOfOthers) {
  Job job;
  job.greet_all(1.0);
  job.leave(0, 3.0, 0, PHASE_FINISH);
  for (double now = 3.0; now < 60.0; now += 1.0) {
    job.monitor.state(1, Job::state(1), now);
    ASSERT_EQ(job.monitor.tick(now), Action::kNothing) << now;
  }
}

TEST(Monitor, AnEarlyExitIsTheCauseOfAnExpiredDeadline) {
  Job job;
  job.greet_all(1.0);
  job.leave(0, 3.0, 0, PHASE_STEP);
  job.monitor.state(1, Job::state(1, 61.0), 4.0);
  EXPECT_EQ(job.monitor.tick(4.0), Action::kEnd);
  EXPECT_EQ(job.monitor.reason()->fault(), FAULT_EARLY_EXIT);
}

TEST(Monitor, AnExpiredDeadlineAsksForRecordsOnceAndComparesThem) {
  Job job;
  job.greet_all(1.0);
  job.divergence.rank = 1;
  job.divergence.sentence = "rank 1 (host b) has not entered all_to_all #212 of ep";
  job.monitor.state(0, Job::state(0, 60.5), 70.0);
  job.monitor.state(1, Job::state(1, 59.5), 70.0);
  EXPECT_EQ(job.monitor.tick(70.0), Action::kAskForRecords);
  EXPECT_EQ(job.monitor.tick(70.1), Action::kNothing);
  for (const int rank : {0, 1}) {
    RankRecord record;
    *record.mutable_state() = Job::state(rank, 61.0);
    job.monitor.record(rank, record, 70.5);
  }
  EXPECT_EQ(job.monitor.tick(70.5), Action::kEnd);
  EXPECT_EQ(job.num_compared, 2u);
  EXPECT_EQ(job.monitor.reason()->fault(), FAULT_HANG);
  EXPECT_EQ(job.monitor.reason()->rank(), 1);
  EXPECT_EQ(job.monitor.reason()->host(), "b");
  EXPECT_THAT(job.monitor.reason()->sentence(), HasSubstr("hang: rank 1"));
}

TEST(Monitor, WaitsThreeSecondsForRecordsAndTakesWhoGivesNoneForLost) {
  Job job;
  job.greet_all(1.0);
  job.divergence.rank = 1;
  job.monitor.state(0, Job::state(0, 60.5), 70.0);
  job.monitor.state(1, Job::state(1, 60.5), 70.0);
  job.monitor.tick(70.0);
  RankRecord record;
  *record.mutable_state() = Job::state(0, 61.0);
  job.monitor.record(0, record, 70.5);
  EXPECT_EQ(job.monitor.tick(72.9), Action::kNothing);
  EXPECT_EQ(job.monitor.tick(73.1), Action::kEnd);
  EXPECT_EQ(job.num_compared, 1u);
  EXPECT_EQ(job.monitor.reason()->fault(), FAULT_LOST);
}

TEST(Monitor, ACrashWhileRecordsAreGatheredSaysMoreThanThey) {
  Job job;
  job.greet_all(1.0);
  job.monitor.state(0, Job::state(0, 60.5), 70.0);
  job.monitor.state(1, Job::state(1, 60.5), 70.0);
  EXPECT_EQ(job.monitor.tick(70.0), Action::kAskForRecords);
  job.end_by(1, 70.5, SIGSEGV);
  job.monitor.tick(70.5);
  EXPECT_EQ(job.monitor.tick(72.6), Action::kEnd);
  EXPECT_EQ(job.monitor.reason()->fault(), FAULT_CRASH);
  EXPECT_EQ(job.num_compared, 0u);
}

TEST(Monitor, AStoppedRankThatHoldsUpTheOthersExpiresWithTheHeartbeat) {
  Job job;
  job.greet_all(1.0);
  const auto beat = [&job](double now, double others) {
    RankState stopped = Job::state(1, now - 2.0);
    stopped.set_process(RankState::stopped);
    job.monitor.state(1, stopped, now);
    job.monitor.state(0, Job::state(0, others), now);
    return job.monitor.tick(now);
  };
  EXPECT_EQ(beat(2.0, 0.0), Action::kNothing);
  EXPECT_EQ(beat(11.0, 8.0), Action::kNothing);
  EXPECT_EQ(beat(13.0, 1.0), Action::kNothing);  // the others still work
  EXPECT_EQ(beat(20.0, 8.0), Action::kAskForRecords);
}

TEST(Monitor, SilenceIsALostHostWithAllItsRanks) {
  Job job;
  job.greet_all(1.0);
  job.monitor.state(1, Job::state(1), 2.0);
  for (double now = 2.0; now < 12.0; now += 1.0) {
    job.monitor.state(0, Job::state(0), now);
    ASSERT_EQ(job.monitor.tick(now), Action::kNothing);
  }
  EXPECT_EQ(job.monitor.tick(12.1), Action::kEnd);
  EXPECT_EQ(job.monitor.reason()->fault(), FAULT_LOST);
  EXPECT_EQ(job.monitor.reason()->rank(), 1);
  EXPECT_THAT(job.monitor.reason()->sentence(),
              HasSubstr("rank 1 (host b) has not been heard of for 10 s, in step 8"));
}

TEST(Monitor, AnOutageShorterThanTheHeartbeatIsNothing) {
  Job job;
  job.greet_all(1.0);
  job.beat_all(2.0);
  EXPECT_EQ(job.monitor.tick(11.0), Action::kNothing);
  job.beat_all(11.5);
  EXPECT_EQ(job.monitor.tick(12.5), Action::kNothing);
}

TEST(Monitor, AnAgentThatIsGoneWithoutAWordIsALostRank) {
  Job job;
  job.greet_all(1.0);
  job.beat_all(2.0);
  job.monitor.connection_lost(1, 3.0);
  job.monitor.tick(3.0);
  EXPECT_EQ(job.monitor.tick(5.1), Action::kEnd);
  EXPECT_EQ(job.monitor.reason()->fault(), FAULT_LOST);
  EXPECT_THAT(job.monitor.reason()->sentence(), HasSubstr("rank 1 (host b) has vanished"));
}

TEST(Monitor, RanksThatNeverCameAreNamedAtTheStartDeadline) {
  Job job;
  job.greet(0, 1.0);
  for (double now = 1.0; now < 100.0; now += 1.0) {
    job.monitor.state(0, Job::state(0), now);
    ASSERT_EQ(job.monitor.tick(now), Action::kNothing);
  }
  EXPECT_EQ(job.monitor.tick(100.1), Action::kEnd);
  EXPECT_EQ(job.monitor.reason()->fault(), FAULT_LOST);
  EXPECT_EQ(job.monitor.reason()->sentence(),
            "rank 1 (host b) has not been heard of within 100 s of the start");
  EXPECT_EQ(job.monitor.reason()->host(), "b");
}

TEST(Monitor, AStartOfWhichNobodyIsHeardIsALaunchFault) {
  Job job;
  EXPECT_EQ(job.monitor.tick(100.1), Action::kEnd);
  EXPECT_EQ(job.monitor.reason()->fault(), FAULT_LAUNCH);
  EXPECT_EQ(job.monitor.exit_code(), 74);
}

TEST(Monitor, ALauncherThatFailsAtOnceIsALaunchFaultTheFirstTimeOnly) {
  Job first;
  first.monitor.launcher_ended(213, 1.0);
  EXPECT_EQ(first.monitor.tick(1.0), Action::kEnd);
  EXPECT_EQ(first.monitor.reason()->fault(), FAULT_LAUNCH);
  EXPECT_THAT(first.monitor.reason()->sentence(), HasSubstr("mpirun ended with code 213"));
  Job second(2);
  second.monitor.launcher_ended(213, 1.0);
  second.monitor.tick(1.0);
  EXPECT_EQ(second.monitor.reason()->fault(), FAULT_LOST);  // it has worked before
}

TEST(Monitor, ALauncherThatEndsWhileRanksRunIsNamed) {
  Job job;
  job.greet_all(1.0);
  job.beat_all(2.0);
  job.monitor.launcher_ended(1, 3.0);
  EXPECT_EQ(job.monitor.tick(3.0), Action::kNothing);
  EXPECT_EQ(job.monitor.tick(5.1), Action::kEnd);
  EXPECT_EQ(job.monitor.reason()->fault(), FAULT_LOST);
  EXPECT_EQ(job.monitor.reason()->sentence(), "mpirun ended with code 1 while ranks 0, 1 ran");
}

TEST(Monitor, KnowsTheCheckpointsBeforeAndAfter) {
  Job job;
  job.greet_all(1.0);
  RankState loading = Job::state(0, 0.0, 0);
  loading.set_phase(PHASE_LOAD);
  job.monitor.state(0, loading, 1.5);
  job.monitor.state(0, Job::state(0, 0.0, 40), 2.0);
  job.monitor.state(1, Job::state(1, 0.0, 60), 3.0);
  job.monitor.state(0, Job::state(0, 0.0, 40), 4.0);
  EXPECT_EQ(job.monitor.first_saved_step(), 40);
  EXPECT_EQ(job.monitor.saved_step(), 60);
}

}  // namespace
}  // namespace molora
