#include "coord/coordinator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace molora {
namespace {

using ::testing::HasSubstr;

// A coordinator of three ranks, and what the ranks say.
class Ranks {
 public:
  explicit Ranks(const CheckpointConfig& config = every_10())
      : coordinator_(config, 3, 77, 0.0), reports_(3) {}

  static CheckpointConfig every_10() {
    CheckpointConfig config;
    config.set_every(10);
    config.set_write_timeout(100);
    return config;
  }

  Orders at(const StepEvents& events, double now = 0.0) {
    const Orders orders = coordinator_.decide(events, reports_, now);
    if (orders.has_begin()) {
      attempt_ = orders.begin().attempt();
      all(WorkerReport::busy);
    }
    if (orders.has_outcome() && !orders.has_begin()) reports_.assign(3, WorkerReport());
    return orders;
  }
  Orders at(int64_t step, double now = 0.0) { return at(StepEvents{.step = step}, now); }

  void set(size_t rank, WorkerReport::Writer writer, const std::string& failure = "") {
    WorkerReport& report = reports_[rank];
    report.set_attempt(attempt_);
    report.set_writer(writer);
    report.set_failure(failure);
    report.clear_part();
    if (writer == WorkerReport::written) {
      FileRecord& file = *report.mutable_part()->add_files();
      file.set_name("file of rank " + std::to_string(rank));
      file.set_bytes(100);
      report.set_blocked_seconds(0.1 * static_cast<double>(rank));
      report.set_work_seconds(1.0 + static_cast<double>(rank));
    }
  }
  void all(WorkerReport::Writer writer) {
    for (size_t rank = 0; rank < reports_.size(); ++rank) set(rank, writer);
  }
  void close(WorkerReport::Closing closing, const std::string& failure = "") {
    reports_[0].set_closing(closing);
    reports_[0].set_failure(failure);
    reports_[0].set_work_seconds(0.5);
  }
  const std::string& attempt() const { return attempt_; }
  Coordinator& coordinator() { return coordinator_; }

 private:
  Coordinator coordinator_;
  std::vector<WorkerReport> reports_;
  std::string attempt_;
};

bool is_nothing(const Orders& orders) { return orders.SerializeAsString().empty(); }

TEST(Coordinator, SavesInTheOrderBeginWriteCommit) {
  Ranks ranks;
  EXPECT_TRUE(is_nothing(ranks.at(9)));
  const Orders begin = ranks.at(10, 5.0);
  EXPECT_EQ(begin.begin().step(), 10);
  EXPECT_EQ(begin.begin().reason(), "interval");
  EXPECT_EQ(begin.begin().attempt(), "77-1");
  EXPECT_FALSE(begin.wait());
  ranks.set(1, WorkerReport::written);
  ranks.set(2, WorkerReport::written);
  EXPECT_TRUE(is_nothing(ranks.at(11)));
  ranks.set(0, WorkerReport::written);
  const Orders commit = ranks.at(12);
  EXPECT_EQ(commit.commit(), "77-1");
  ASSERT_EQ(ranks.coordinator().parts().size(), 3u);
  EXPECT_EQ(ranks.coordinator().parts()[2].files(0).name(), "file of rank 2");
  ranks.close(WorkerReport::in_work);
  EXPECT_TRUE(is_nothing(ranks.at(13)));
  ranks.close(WorkerReport::committed);
  const SaveOutcome outcome = ranks.at(14, 8.0).outcome();
  EXPECT_EQ(outcome.step(), 10);
  EXPECT_EQ(outcome.failure(), "");
  EXPECT_EQ(outcome.bytes(), 300u);
  EXPECT_DOUBLE_EQ(outcome.seconds(), 3.5) << "the slowest part and the commit";
  EXPECT_DOUBLE_EQ(outcome.blocked_seconds(), 0.2);
  EXPECT_FALSE(outcome.was_required());
  EXPECT_TRUE(is_nothing(ranks.at(15)));
  EXPECT_EQ(ranks.at(20).begin().attempt(), "77-2");
}

TEST(Coordinator, PartsThatWereToldOnceAreKept) {
  Ranks ranks;
  ranks.at(10);
  ranks.set(0, WorkerReport::written);
  ranks.at(11);
  // A rank tells its part once; what it says afterwards has none.
  Ranks other;
  ranks.set(1, WorkerReport::written);
  ranks.at(12);
  ranks.set(2, WorkerReport::written);
  EXPECT_TRUE(ranks.at(13).has_commit());
  for (const PartRecord& part : ranks.coordinator().parts()) EXPECT_EQ(part.files_size(), 1);
}

TEST(Coordinator, AFailureAnywhereDropsTheAttemptWhenNoWriterIsBusy) {
  Ranks ranks;
  ranks.at(10);
  ranks.set(1, WorkerReport::failed, "disk full");
  const Orders give_up = ranks.at(11);
  EXPECT_EQ(give_up.give_up(), ranks.attempt());
  EXPECT_FALSE(give_up.has_remove()) << "rank 0 and 2 still write";
  ranks.set(0, WorkerReport::failed, "given up");
  EXPECT_TRUE(is_nothing(ranks.at(12)));
  ranks.set(2, WorkerReport::written);
  EXPECT_EQ(ranks.at(13).remove(), ranks.attempt());
  ranks.close(WorkerReport::in_work);
  EXPECT_TRUE(is_nothing(ranks.at(14)));
  ranks.close(WorkerReport::dropped);
  const SaveOutcome outcome = ranks.at(15).outcome();
  EXPECT_EQ(outcome.failure(), "rank 1: disk full") << "the first failure, not what followed";
  EXPECT_FALSE(outcome.was_required());
  EXPECT_TRUE(ranks.at(20).has_begin()) << "the next interval is saved";
}

TEST(Coordinator, ACommitThatFailsIsRemoved) {
  Ranks ranks;
  ranks.at(10);
  ranks.all(WorkerReport::written);
  EXPECT_TRUE(ranks.at(11).has_commit());
  ranks.close(WorkerReport::commit_failed, "no space");
  EXPECT_EQ(ranks.at(12).remove(), ranks.attempt());
  ranks.close(WorkerReport::dropped);
  EXPECT_EQ(ranks.at(13).outcome().failure(), "rank 0: no space");
}

TEST(Coordinator, ASaveThatTakesTooLongIsGivenUpAndTheRanksAreNamed) {
  Ranks ranks;
  ranks.at(10, 50.0);
  ranks.set(1, WorkerReport::written);
  EXPECT_TRUE(is_nothing(ranks.at(11, 150.0)));
  EXPECT_TRUE(ranks.at(12, 150.5).has_give_up());
  ranks.set(0, WorkerReport::written);
  ranks.set(2, WorkerReport::failed, "given up");
  EXPECT_TRUE(ranks.at(13, 151.0).has_remove());
  ranks.close(WorkerReport::dropped);
  const std::string failure = ranks.at(14, 152.0).outcome().failure();
  EXPECT_THAT(failure, HasSubstr("not written after 100 s"));
  EXPECT_THAT(failure, HasSubstr("checkpoint.write_timeout is 100"));
  EXPECT_THAT(failure, HasSubstr("still writing: rank 0, 2"));
}

TEST(Coordinator, AnIntervalIsPassedOverWhileASaveIsInFlight) {
  Ranks ranks;
  ranks.at(10, 1.0);
  const Orders orders = ranks.at(20, 3.5);
  EXPECT_EQ(orders.passed_over(),
            "no checkpoint of step 20: that of step 10 is still being written after 2.5 s");
  EXPECT_FALSE(orders.wait());
  EXPECT_FALSE(orders.has_begin());
  ranks.all(WorkerReport::written);
  ranks.at(21);
  ranks.close(WorkerReport::committed);
  const Orders next = ranks.at(30);
  EXPECT_TRUE(next.has_outcome());
  EXPECT_EQ(next.begin().step(), 30) << "at the boundary at which the other ended";
}

TEST(Coordinator, TheBestWaitsForTheSaveBeforeItAndNotForItsOwn) {
  Ranks ranks;
  ranks.at(10);
  const StepEvents best{.step = 13, .is_new_best = true};
  EXPECT_TRUE(ranks.at(best).wait());
  ranks.all(WorkerReport::written);
  const Orders commit = ranks.at(best);
  EXPECT_TRUE(commit.has_commit());
  EXPECT_TRUE(commit.wait());
  ranks.close(WorkerReport::committed);
  const Orders orders = ranks.at(best);
  EXPECT_EQ(orders.outcome().step(), 10);
  EXPECT_EQ(orders.begin().step(), 13);
  EXPECT_FALSE(orders.wait());
}

TEST(Coordinator, AStopAndTheEndWaitForTheirOwnSaveAndItsFailureIsTheirs) {
  for (const StepEvents& events : {StepEvents{.step = 13, .is_last = true},
                                   StepEvents{.step = 13, .is_stop_requested = true}}) {
    Ranks ranks;
    EXPECT_TRUE(ranks.at(events).wait());
    ranks.all(WorkerReport::written);
    EXPECT_TRUE(ranks.at(events).wait());
    ranks.close(WorkerReport::commit_failed, "no space");
    EXPECT_TRUE(ranks.at(events).wait());
    ranks.close(WorkerReport::dropped);
    const Orders orders = ranks.at(events);
    EXPECT_TRUE(orders.outcome().was_required());
    EXPECT_THAT(orders.outcome().failure(), HasSubstr("no space"));
    EXPECT_FALSE(orders.wait());
    EXPECT_FALSE(orders.has_begin()) << "not tried again and again";
  }
}

TEST(Coordinator, AStopFirstEndsTheSaveInFlight) {
  Ranks ranks;
  ranks.at(10);
  const StepEvents stop{.step = 11, .is_stop_requested = true};
  EXPECT_TRUE(ranks.at(stop).wait());
  ranks.set(0, WorkerReport::failed, "disk full");
  ranks.set(1, WorkerReport::written);
  ranks.set(2, WorkerReport::written);
  const Orders dropped = ranks.at(stop);
  EXPECT_TRUE(dropped.has_give_up());
  EXPECT_TRUE(dropped.has_remove());
  ranks.close(WorkerReport::dropped);
  const Orders begin = ranks.at(stop);
  EXPECT_FALSE(begin.outcome().was_required()) << "the interval's failure is not the stop's";
  EXPECT_EQ(begin.begin().step(), 11);
  EXPECT_TRUE(begin.wait());
}

TEST(Coordinator, SavesByTimeCountFromTheLastSave) {
  CheckpointConfig config = Ranks::every_10();
  config.set_every_minutes(2);
  config.set_write_timeout(1000);
  Ranks ranks(config);
  EXPECT_FALSE(ranks.at(1, 119.0).has_begin());
  const Orders orders = ranks.at(2, 121.0);
  EXPECT_EQ(orders.begin().reason(), "interval of time");
  // While it is in flight time passes without a word.
  EXPECT_TRUE(is_nothing(ranks.at(3, 500.0)));
  ranks.all(WorkerReport::written);
  ranks.at(4, 501.0);
  ranks.close(WorkerReport::committed);
  EXPECT_TRUE(ranks.at(5, 502.0).has_begin()) << "as soon as it ended";
}

TEST(Coordinator, ReportsOfAnotherAttemptAreNotTakenForThisOne) {
  Ranks ranks;
  ranks.at(10);
  ranks.all(WorkerReport::written);
  ranks.at(11);
  ranks.close(WorkerReport::committed);
  ranks.at(12);
  Ranks later;
  later.at(10);
  later.set(0, WorkerReport::written);
  std::vector<WorkerReport> stale(3);
  for (WorkerReport& report : stale) {
    report.set_attempt("76-9");
    report.set_writer(WorkerReport::written);
    report.set_closing(WorkerReport::committed);
  }
  EXPECT_TRUE(is_nothing(later.coordinator().decide({.step = 11}, stale, 0.0)));
}

}  // namespace
}  // namespace molora
