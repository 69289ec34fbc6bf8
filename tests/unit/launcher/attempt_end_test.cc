#include "launcher/supervise/attempt_end.h"

#include <signal.h>

#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace molora {
namespace {

using ::testing::HasSubstr;

RankState in_step(int64_t steps_done, const std::string& place = "layer 3 down_proj, backward") {
  RankState state;
  state.set_phase(PHASE_STEP);
  state.set_step(steps_done);
  state.set_place(place);
  return state;
}

RankEnd left(int rank, double at, const std::function<void(Departure&)>& how) {
  RankEnd end;
  end.rank = rank;
  end.host = rank == 0 ? "a" : "b";
  end.at = at;
  end.last = in_step(7);
  how(end.departure);
  return end;
}

RankEnd by_signal(int rank, double at, int signal) {
  return left(rank, at, [&](Departure& departure) { departure.set_signal(signal); });
}

RankEnd with_code(int rank, double at, int code) {
  return left(rank, at, [&](Departure& departure) { departure.set_exit_code(code); });
}

RankEnd with_word(int rank, double at, FaultKind fault, const std::string& message) {
  return left(rank, at, [&](Departure& departure) {
    departure.set_fault(fault);
    departure.set_message(message);
  });
}

Reason reason_of(const std::vector<RankEnd>& ends) {
  const auto deciding = deciding_end(ends);
  return deciding ? reason_of_end(ends, *deciding, 4) : Reason();
}

TEST(DecidingEnd, AFaultInARanksOwnWordsWinsOverSignals) {
  const Reason reason =
      reason_of({by_signal(0, 1.0, SIGKILL), with_word(1, 2.0, FAULT_DATA, "bad row")});
  EXPECT_EQ(reason.rank(), 1);
  EXPECT_EQ(reason.fault(), FAULT_DATA);
  EXPECT_EQ(reason.exit_code(), 64);
}

TEST(DecidingEnd, OfRanksThatFailTogetherTheOneWithTheMessage) {
  EXPECT_EQ(
      reason_of({with_word(0, 1.0, FAULT_CONFIG, ""), with_word(2, 2.0, FAULT_CONFIG, "x")}).rank(),
      2);
}

TEST(DecidingEnd, OfSignalsTheFirst) {
  EXPECT_EQ(reason_of({by_signal(0, 2.0, SIGKILL), by_signal(1, 1.0, SIGKILL)}).rank(), 1);
}

TEST(DecidingEnd, TheLaunchersTermIsNeverTheCause) {
  RankEnd vanished = by_signal(1, 2.0, 0);
  vanished.kind = RankEnd::Kind::kDisconnected;
  EXPECT_EQ(reason_of({by_signal(0, 1.0, SIGTERM), vanished}).rank(), 1);
}

TEST(DecidingEnd, AnEarlyExitWinsOverTheKillsThatFollow) {
  const Reason reason = reason_of({by_signal(0, 2.0, SIGKILL), with_code(1, 1.0, 0)});
  EXPECT_EQ(reason.fault(), FAULT_EARLY_EXIT);
  EXPECT_EQ(reason.exit_code(), 70);
  EXPECT_EQ(
      reason.sentence(),
      "rank 1 of 4 (host b) left with code 0 in step 8 (layer 3 down_proj, backward) while the "
      "others went on");
}

TEST(DecidingEnd, ACrashWinsOverTheExitsOfOthers) {
  EXPECT_EQ(reason_of({with_code(0, 1.0, 0), by_signal(1, 2.0, SIGSEGV)}).fault(), FAULT_CRASH);
}

TEST(DecidingEnd, WhoMissesAnotherIsBlamedLast) {
  RankEnd silent = with_code(1, 2.0, 0);
  silent.kind = RankEnd::Kind::kSilent;
  silent.seconds_silent = 31.0;
  EXPECT_EQ(reason_of({with_word(0, 1.0, FAULT_LOST, "rank 1 is gone"), silent}).rank(), 1);
  const Reason alone = reason_of({with_word(0, 1.0, FAULT_LOST, "a peer is gone")});
  EXPECT_EQ(alone.fault(), FAULT_LOST);
  EXPECT_FALSE(alone.has_rank());
  EXPECT_THAT(alone.sentence(), HasSubstr("a peer is gone"));
}

TEST(DecidingEnd, GoodEndsDecideNothing) {
  RankEnd done = with_code(0, 1.0, 0);
  done.last.set_phase(PHASE_FINISH);
  EXPECT_FALSE(deciding_end(std::vector{done}).has_value());
}

TEST(ReasonOfEnd, TellsAKillFromACrash) {
  EXPECT_EQ(
      reason_of({by_signal(1, 1.0, SIGKILL)}).sentence(),
      "rank 1 (host b) was killed by signal 9 (SIGKILL) in step 8 (layer 3 down_proj, backward)");
  EXPECT_EQ(
      reason_of({by_signal(1, 1.0, SIGABRT)}).sentence(),
      "rank 1 (host b) crashed with signal 6 (SIGABRT) in step 8 (layer 3 down_proj, backward)");
  EXPECT_EQ(reason_of({by_signal(1, 1.0, SIGABRT)}).exit_code(), 70);
  EXPECT_EQ(reason_of({by_signal(1, 1.0, SIGKILL)}).exit_code(), 76);
}

TEST(ReasonOfEnd, OutOfMemoryNamesHowMuchThereWas) {
  const Reason reason = reason_of({left(1, 1.0, [](Departure& departure) {
    departure.set_signal(SIGKILL);
    departure.set_is_out_of_memory(true);
    departure.set_peak_memory_bytes(uint64_t{14} << 30);
  })});
  EXPECT_EQ(reason.fault(), FAULT_MEMORY);
  EXPECT_EQ(reason.exit_code(), 71);
  EXPECT_EQ(reason.sentence(),
            "out of memory: the kernel killed rank 1 (host b) at 14.0 GiB in step 8 (layer 3 "
            "down_proj, backward)");
  EXPECT_THAT(advice(reason), HasSubstr("train.micro_batch_size"));
}

TEST(ReasonOfEnd, TakesTheFirstLineOfAMessage) {
  const Reason reason =
      reason_of({with_word(0, 1.0, FAULT_CONFIG, "train.steps: wrong\nand more")});
  EXPECT_THAT(reason.sentence(), ::testing::EndsWith(": train.steps: wrong"));
}

TEST(ReasonOfEnd, ExitCodesWithoutAWordKeepTheirMeaning) {
  EXPECT_EQ(reason_of({with_code(0, 1.0, 64)}).fault(), FAULT_CONFIG);
  EXPECT_EQ(reason_of({with_code(0, 1.0, 71)}).fault(), FAULT_MEMORY);
  EXPECT_EQ(reason_of({with_code(0, 1.0, 74)}).fault(), FAULT_STORAGE);
  EXPECT_EQ(reason_of({with_code(0, 1.0, 3)}).fault(), FAULT_INTERNAL);
  EXPECT_THAT(reason_of({with_code(0, 1.0, 3)}).sentence(), HasSubstr("left with code 3"));
}

TEST(ReasonOfEnd, NamesAllSilentRanksOfAHost) {
  std::vector<RankEnd> ends;
  for (const int rank : {1, 2}) {
    RankEnd end = with_code(rank, 1.0, 0);
    end.kind = RankEnd::Kind::kSilent;
    end.seconds_silent = 30.4;
    ends.push_back(end);
  }
  EXPECT_THAT(reason_of(ends).sentence(),
              HasSubstr("ranks 1, 2 (host b) have not been heard of for 30 s"));
  EXPECT_EQ(reason_of(ends).host(), "b");
}

TEST(ReasonOfHang, CarriesWhatTheComparisonFound) {
  Divergence divergence;
  divergence.kind = Divergence::Kind::kLate;
  divergence.rank = 1;
  divergence.host = "b";
  divergence.communicator = "ep";
  divergence.operation = "all_to_all";
  divergence.sequence = 212;
  divergence.step = 7;
  divergence.sentence = "rank 1 (host b) has not entered all_to_all #212 of ep";
  const Reason reason = reason_of_hang(divergence, {}, /*has_record=*/true);
  EXPECT_EQ(reason.fault(), FAULT_HANG);
  EXPECT_EQ(reason.sentence(), "hang: rank 1 (host b) has not entered all_to_all #212 of ep");
  EXPECT_EQ(reason.operation(), "all_to_all");
  EXPECT_EQ(reason.sequence(), 212u);
  EXPECT_EQ(reason.communicator(), "ep");
}

TEST(ReasonOfHang, ARankWithoutARecordIsLost) {
  Divergence divergence;
  divergence.rank = 1;
  EXPECT_EQ(reason_of_hang(divergence, {}, /*has_record=*/false).fault(), FAULT_LOST);
}

TEST(WhereText, FollowsThePhase) {
  RankState state = in_step(7);
  EXPECT_EQ(where_text(state), "in step 8 (layer 3 down_proj, backward)");
  state.set_phase(PHASE_SAVE);
  EXPECT_EQ(where_text(state), "while saving after step 7");
  state.set_phase(PHASE_EVALUATE);
  EXPECT_EQ(where_text(state), "while evaluating after step 7");
  state.set_phase(PHASE_LOAD);
  EXPECT_EQ(where_text(state), "while loading");
}

TEST(WhereText, FallsBackOnTheLatestCollectiveOfTheStep) {
  RankState state = in_step(7, "");
  state.mutable_latest()->set_operation("all_reduce");
  state.mutable_latest()->set_place("head, forward");
  state.mutable_latest()->set_step(7);
  EXPECT_EQ(where_text(state), "in step 8 (after all_reduce, head, forward)");
  state.mutable_latest()->set_step(6);
  EXPECT_EQ(where_text(state), "in step 8");
}

TEST(RanksText, ListsEightAndCountsTheRest) {
  EXPECT_EQ(ranks_text(std::vector{3}), "rank 3");
  EXPECT_EQ(ranks_text(std::vector{1, 2}), "ranks 1, 2");
  EXPECT_EQ(ranks_text(std::vector{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}),
            "ranks 0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
}

}  // namespace
}  // namespace molora
