#include "watch/flight_comparison.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace molora {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Kind = Divergence::Kind;

// What ranks have done, as their records would have it. Two ranks a host: a, a, b, b, ...
class Scene {
 public:
  explicit Scene(int world_size) : records_(static_cast<size_t>(world_size)) {
    for (int rank = 0; rank < world_size; ++rank) {
      RankState& state = *of(rank).mutable_state();
      state.set_rank(static_cast<uint32_t>(rank));
      state.set_host(std::string(1, static_cast<char>('a' + rank / 2)));
      state.set_process(RankState::running);
      state.set_phase(PHASE_STEP);
      state.set_step(6);
      state.set_seconds_since_progress(1.0);
    }
  }

  // Returns its id.
  uint64_t add_group(const std::string& name, const std::vector<int>& ranks) {
    const uint64_t id = 1000 + ++num_groups_;
    for (const int rank : ranks) {
      CommunicatorInfo& info = *of(rank).add_communicators();
      info.set_id(id);
      info.set_name(name);
      info.mutable_ranks()->Assign(ranks.begin(), ranks.end());
    }
    return id;
  }

  // The rank does a collective and comes out of it.
  CollectiveEvent& does(int rank, uint64_t group, const std::string& operation,
                        const std::string& place, int64_t step = 6) {
    CollectiveEvent& event = *of(rank).add_events();
    event.set_order(++orders_[rank]);
    event.set_communicator(group);
    event.set_sequence(++sequences_[{rank, group}]);
    event.set_operation(operation);
    event.set_place(place);
    event.set_step(step);
    event.set_seconds_ago(40.0);
    event.set_is_over(true);
    return event;
  }
  // The rank goes into one and stays there.
  CollectiveEvent& waits_in(int rank, uint64_t group, const std::string& operation,
                            const std::string& place, int64_t step = 6) {
    CollectiveEvent& event = does(rank, group, operation, place, step);
    event.set_seconds_ago(31.4);
    event.set_is_over(false);
    state(rank).set_seconds_since_progress(31.4);
    return event;
  }

  RankRecord& of(int rank) { return records_[static_cast<size_t>(rank)]; }
  RankState& state(int rank) { return *of(rank).mutable_state(); }
  void loses(int rank) { gone_.push_back(rank); }

  Divergence compare() const {
    std::vector<RankRecord> there;
    for (size_t rank = 0; rank < records_.size(); ++rank) {
      if (std::find(gone_.begin(), gone_.end(), static_cast<int>(rank)) == gone_.end()) {
        there.push_back(records_[rank]);
      }
    }
    return compare_records(there, static_cast<int>(records_.size()));
  }

 private:
  std::vector<RankRecord> records_;
  std::vector<int> gone_;
  uint64_t num_groups_ = 0;
  std::map<int, uint64_t> orders_;
  std::map<std::pair<int, uint64_t>, uint64_t> sequences_;
};

// Four ranks in one group; three wait for rank 1.
class OneIsMissing : public ::testing::Test {
 protected:
  OneIsMissing() {
    scene_.state(1).set_place("layer 3 down_proj, backward");
    for (const int rank : {0, 1, 2, 3}) scene_.does(rank, ep_, "all_to_all", "layer 3 up_proj");
    for (const int rank : {0, 2, 3}) {
      scene_.waits_in(rank, ep_, "all_to_all", "layer 3 down_proj, backward");
    }
  }
  Scene scene_{4};
  uint64_t ep_ = scene_.add_group("ep", {0, 1, 2, 3});
};

TEST_F(OneIsMissing, AStoppedRankIsNamedWithTheCollectiveThatOthersWaitIn) {
  scene_.state(1).set_process(RankState::stopped);
  const Divergence found = scene_.compare();
  EXPECT_EQ(found.kind, Kind::kLate);
  EXPECT_EQ(found.rank, 1);
  EXPECT_EQ(found.host, "a");
  EXPECT_EQ(found.communicator, "ep");
  EXPECT_EQ(found.operation, "all_to_all");
  EXPECT_EQ(found.sequence, 2u);
  EXPECT_EQ(found.place, "layer 3 down_proj, backward");
  EXPECT_EQ(found.step, 6);
  EXPECT_EQ(found.sentence,
            "rank 1 (host a) has not entered all_to_all #2 of ep, in which ranks 0, 2, 3 have "
            "waited for 31 s (layer 3 down_proj, backward, 6 steps done): it is stopped by a "
            "signal (layer 3 down_proj, backward, in phase step, 6 steps done)");
}

TEST_F(OneIsMissing, ARankThatComputesIsNamedWithWhatItIsAt) {
  scene_.state(1).set_seconds_since_progress(33.0);
  const Divergence found = scene_.compare();
  EXPECT_EQ(found.kind, Kind::kLate);
  EXPECT_EQ(found.rank, 1);
  EXPECT_THAT(found.sentence,
              HasSubstr("it is at work (layer 3 down_proj, backward, in phase step, 6 steps done) "
                        "and has come no further for 33 s"));
}

TEST_F(OneIsMissing, ARankWithoutARecordIsGone) {
  scene_.loses(1);
  const Divergence found = scene_.compare();
  EXPECT_EQ(found.kind, Kind::kLate);
  EXPECT_EQ(found.rank, 1);
  EXPECT_EQ(found.host, "");
  EXPECT_THAT(found.sentence, StartsWith("rank 1 has not entered all_to_all #2 of ep"));
  EXPECT_THAT(found.sentence, HasSubstr("nothing is heard of it"));
}

TEST_F(OneIsMissing, ARankThatHasEndedIsNamed) {
  scene_.state(1).set_process(RankState::ended);
  const Divergence found = scene_.compare();
  EXPECT_EQ(found.rank, 1);
  EXPECT_THAT(found.sentence, HasSubstr("its process has ended"));
}

TEST_F(OneIsMissing, BytesMayDiffer) {
  scene_.of(0).mutable_events(0)->set_bytes_sent(100);
  scene_.of(1).mutable_events(0)->set_bytes_sent(0);
  EXPECT_EQ(scene_.compare().kind, Kind::kLate);
}

TEST_F(OneIsMissing, ARecordThatReachesBackLessFarIsNoDifference) {
  scene_.of(2).mutable_events()->DeleteSubrange(0, 1);
  const Divergence found = scene_.compare();
  EXPECT_EQ(found.kind, Kind::kLate);
  EXPECT_EQ(found.rank, 1);
}

TEST_F(OneIsMissing, ADeadRankIsToBlameBeforeASlowOne) {
  // Rank 3 has not come either, and stands still for longer.
  scene_.of(3).mutable_events()->RemoveLast();
  scene_.state(3).set_seconds_since_progress(500.0);
  scene_.state(1).set_process(RankState::stopped);
  EXPECT_EQ(scene_.compare().rank, 1);
  scene_.state(1).set_process(RankState::running);
  EXPECT_EQ(scene_.compare().rank, 3);
}

TEST(FlightComparison, FollowsTheChainToTheRankThatWaitsForNobody) {
  Scene scene(4);
  const uint64_t tp01 = scene.add_group("tp", {0, 1});
  const uint64_t tp23 = scene.add_group("tp", {2, 3});
  const uint64_t dp02 = scene.add_group("dp", {0, 2});
  scene.add_group("dp", {1, 3});
  scene.waits_in(1, tp01, "all_gather", "layer 1 q_proj, forward");
  scene.waits_in(0, dp02, "all_to_all", "gradient sums");
  scene.does(2, tp23, "all_gather", "layer 1 q_proj, forward");
  scene.does(3, tp23, "all_gather", "layer 1 q_proj, forward");
  scene.waits_in(3, tp23, "barrier", "layer 2");
  const Divergence found = scene.compare();
  EXPECT_EQ(found.kind, Kind::kLate);
  EXPECT_EQ(found.rank, 2);
  EXPECT_EQ(found.host, "b");
  EXPECT_THAT(found.sentence, HasSubstr("in other collectives"));
}

TEST(FlightComparison, ARankThatWasStoppedInsideACollectiveIsNamed) {
  Scene scene(3);
  const uint64_t all = scene.add_group("all", {0, 1, 2});
  for (const int rank : {0, 1, 2}) scene.waits_in(rank, all, "all_gather", "norms");
  scene.state(2).set_process(RankState::stopped);
  const Divergence found = scene.compare();
  EXPECT_EQ(found.kind, Kind::kLate);
  EXPECT_EQ(found.rank, 2);
  EXPECT_THAT(found.sentence,
              HasSubstr("rank 2 (host b) has come to all_gather #1 of all, in which "
                        "ranks 0, 1 have waited"));
}

TEST(FlightComparison, ACollectiveThatAllHaveComeToIsTheNetworks) {
  Scene scene(4);
  const uint64_t all = scene.add_group("all", {0, 1, 2, 3});
  for (const int rank : {0, 1, 2, 3}) scene.waits_in(rank, all, "all_gather", "norms");
  const Divergence found = scene.compare();
  EXPECT_EQ(found.kind, Kind::kUnclear);
  EXPECT_FALSE(found.rank.has_value());
  EXPECT_EQ(found.communicator, "all");
  EXPECT_EQ(found.sentence,
            "every rank has come to all_gather #1 of all (norms, 6 steps done), but ranks 0-3 have "
            "been in it for 31 s: look at the network between the hosts (a, b)");
}

// --- Different collectives ---

// One step of a little program on two groups.
void does_step(Scene& scene, int rank, uint64_t ep, uint64_t all, int64_t step) {
  scene.does(rank, ep, "all_to_all", "layer 0 up_proj, forward", step);
  scene.does(rank, ep, "all_to_all", "layer 0 down_proj, forward", step);
  scene.does(rank, ep, "all_gather", "layer 0 down_proj, backward", step);
  scene.does(rank, all, "all_to_all", "gradient sums", step);
  scene.does(rank, all, "all_gather", "gradient sums", step);
}

class DifferentCollectives : public ::testing::Test {
 protected:
  static constexpr int64_t kSteps = 3;

  Scene scene_of(int world_size) {
    Scene scene(world_size);
    std::vector<int> everybody;
    for (int rank = 0; rank < world_size; ++rank) everybody.push_back(rank);
    ep_ = scene.add_group("ep", everybody);
    all_ = scene.add_group("all", everybody);
    return scene;
  }
  void does_steps(Scene& scene, int rank) {
    for (int64_t step = 0; step < kSteps; ++step) does_step(scene, rank, ep_, all_, step);
  }

  uint64_t ep_ = 0;
  uint64_t all_ = 0;
};

TEST_F(DifferentCollectives, TheFewestAreWrong) {
  Scene scene = scene_of(4);
  for (const int rank : {0, 1, 2, 3}) {
    does_steps(scene, rank);
    if (rank != 1) scene.does(rank, ep_, "all_to_all", "layer 0 up_proj, forward", kSteps);
    scene.waits_in(rank, ep_, "all_to_all", "layer 0 down_proj, forward", kSteps);
  }
  const Divergence found = scene.compare();
  EXPECT_EQ(found.kind, Kind::kMismatch);
  EXPECT_EQ(found.rank, 1);
  EXPECT_EQ(found.host, "a");
  EXPECT_EQ(found.communicator, "ep");
  EXPECT_EQ(found.sequence, 10u);
  EXPECT_EQ(found.operation, "all_to_all");
  EXPECT_EQ(found.place, "layer 0 up_proj, forward");
  EXPECT_EQ(found.step, kSteps);
  EXPECT_EQ(found.sentence,
            "rank 1 (host a) is not in step with the others at collective #10 of ep: ranks 0, 2, 3 "
            "came to all_to_all (layer 0 up_proj, forward, 3 steps done), rank 1 (host a) came to "
            "all_to_all (layer 0 down_proj, forward, 3 steps done); it has left that all_to_all "
            "out");
}

TEST_F(DifferentCollectives, SeveralMayBeWrong) {
  Scene scene = scene_of(5);
  for (const int rank : {0, 1, 2, 3, 4}) {
    scene.waits_in(rank, ep_, rank % 2 == 1 ? "barrier" : "all_gather", "head");
  }
  const Divergence found = scene.compare();
  EXPECT_EQ(found.kind, Kind::kMismatch);
  EXPECT_EQ(found.rank, 1);
  EXPECT_THAT(found.sentence, StartsWith("ranks 1, 3 are not in step with the others"));
  EXPECT_THAT(found.sentence, HasSubstr("they have left one out or done one too many"));
}

TEST_F(DifferentCollectives, OfTwoTheOneThatDoesWhatIsUnusualIsWrong) {
  for (const int wrong : {0, 1}) {
    Scene scene = scene_of(2);
    for (const int rank : {0, 1}) {
      does_steps(scene, rank);
      if (rank != wrong) scene.does(rank, ep_, "all_to_all", "layer 0 up_proj, forward", kSteps);
      scene.does(rank, ep_, "all_to_all", "layer 0 down_proj, forward", kSteps);
      scene.waits_in(rank, ep_, "all_gather", "layer 0 down_proj, backward", kSteps);
    }
    const Divergence found = scene.compare();
    EXPECT_EQ(found.kind, Kind::kMismatch);
    EXPECT_EQ(found.rank, wrong);
    EXPECT_EQ(found.place, "layer 0 up_proj, forward");
    EXPECT_THAT(found.sentence, HasSubstr("it has left that all_to_all out"));
  }
}

TEST_F(DifferentCollectives, OneTooManyIsWrongToo) {
  Scene scene = scene_of(2);
  for (const int rank : {0, 1}) {
    does_steps(scene, rank);
    if (rank == 1) scene.does(rank, ep_, "barrier", "layer 0 up_proj, forward", kSteps);
    scene.waits_in(rank, ep_, "all_to_all", "layer 0 up_proj, forward", kSteps);
  }
  const Divergence found = scene.compare();
  EXPECT_EQ(found.kind, Kind::kMismatch);
  EXPECT_EQ(found.rank, 1);
  EXPECT_EQ(found.operation, "all_to_all");
  EXPECT_THAT(found.sentence, HasSubstr("it has left one out or done one too many"));
}

// What came before decides, not only the one collective before.
TEST_F(DifferentCollectives, ALongerStretchTellsEqualCollectivesApart) {
  for (const int wrong : {0, 1}) {
    Scene scene = scene_of(2);
    for (const int rank : {0, 1}) {
      for (int64_t step = 0; step < kSteps; ++step) {
        scene.does(rank, ep_, "all_to_all", "rows", 0);
        scene.does(rank, ep_, "all_to_all", "rows", 0);
        scene.does(rank, ep_, "all_gather", "rows", 0);
      }
      scene.does(rank, ep_, "all_to_all", "rows", 0);
      if (rank != wrong) scene.does(rank, ep_, "all_to_all", "rows", 0);
      scene.waits_in(rank, ep_, "all_gather", "rows", 0);
    }
    EXPECT_EQ(scene.compare().rank, wrong);
  }
}

TEST_F(DifferentCollectives, WithoutAPastNobodyIsBlamed) {
  Scene scene = scene_of(2);
  scene.waits_in(0, ep_, "all_to_all", "layer 0 up_proj, forward");
  scene.waits_in(1, ep_, "all_gather", "head, forward");
  const Divergence found = scene.compare();
  EXPECT_EQ(found.kind, Kind::kUnclear);
  EXPECT_FALSE(found.rank.has_value());
  EXPECT_EQ(found.sequence, 1u);
  EXPECT_EQ(found.sentence,
            "ranks 0, 1 disagree about collective #1 of ep: rank 0 (host a) came to all_to_all "
            "(layer 0 up_proj, forward, 6 steps done), rank 1 (host a) came to all_gather (head, "
            "forward, 6 steps done); the records do not tell which of them is right");
}

TEST_F(DifferentCollectives, OtherGroupsOfTheSameKindBearWitness) {
  Scene scene(4);
  const uint64_t tp01 = scene.add_group("tp", {0, 1});
  const uint64_t tp23 = scene.add_group("tp", {2, 3});
  for (const int rank : {2, 3}) {
    scene.does(rank, tp23, "barrier", "start", 0);
    scene.does(rank, tp23, "all_gather", "layer 0", 0);
    scene.waits_in(rank, tp23, "all_to_all", "layer 1", 0);
  }
  for (const int rank : {0, 1}) scene.does(rank, tp01, "barrier", "start", 0);
  scene.waits_in(0, tp01, "all_to_all", "layer 1", 0);
  scene.waits_in(1, tp01, "all_gather", "layer 0", 0);
  const Divergence found = scene.compare();
  EXPECT_EQ(found.kind, Kind::kMismatch);
  EXPECT_EQ(found.rank, 0);
}

TEST_F(DifferentCollectives, TheFirstOneIsReported) {
  Scene scene = scene_of(3);
  for (const int rank : {0, 1, 2}) {
    does_steps(scene, rank);
    if (rank != 2) scene.does(rank, ep_, "all_to_all", "layer 0 up_proj, forward", kSteps);
    scene.does(rank, ep_, "all_to_all", "layer 0 down_proj, forward", kSteps);
    scene.does(rank, ep_, "all_gather", "layer 0 down_proj, backward", kSteps);
    scene.does(rank, all_, rank == 2 ? "barrier" : "all_to_all", "gradient sums", kSteps);
  }
  const Divergence found = scene.compare();
  EXPECT_EQ(found.communicator, "ep");
  EXPECT_EQ(found.sequence, 10u);
}

TEST_F(DifferentCollectives, AnotherStepIsAnotherCollective) {
  Scene scene = scene_of(3);
  for (const int rank : {0, 1, 2}) scene.waits_in(rank, all_, "barrier", "", rank == 0 ? 7 : 6);
  const Divergence found = scene.compare();
  EXPECT_EQ(found.kind, Kind::kMismatch);
  EXPECT_EQ(found.rank, 0);
  EXPECT_THAT(found.sentence, HasSubstr("rank 0 (host a) came to barrier (7 steps done)"));
}

// --- Circles ---

class Circle : public ::testing::Test {
 protected:
  // A step in which `ep` comes before `tp`, as often as asked; then rank 1 leaves `ep` out.
  Scene scene_after(int num_steps) {
    Scene scene(2);
    const uint64_t ep = scene.add_group("ep", {0, 1});
    const uint64_t tp = scene.add_group("tp", {0, 1});
    for (const int rank : {0, 1}) {
      for (int step = 0; step < num_steps; ++step) {
        scene.does(rank, ep, "all_to_all", "layer 3 up_proj, forward", step);
        scene.does(rank, tp, "all_gather", "layer 3 down_proj, forward", step);
      }
    }
    scene.waits_in(0, ep, "all_to_all", "layer 3 up_proj, forward", num_steps);
    scene.waits_in(1, tp, "all_gather", "layer 3 down_proj, forward", num_steps);
    return scene;
  }
};

TEST_F(Circle, TheRankThatLeftOneOutIsFoundByWhatIsUsual) {
  const Divergence found = scene_after(2).compare();
  EXPECT_EQ(found.kind, Kind::kMismatch);
  EXPECT_EQ(found.rank, 1);
  EXPECT_EQ(found.communicator, "ep");
  EXPECT_EQ(found.sequence, 3u);
  EXPECT_EQ(found.operation, "all_to_all");
  EXPECT_EQ(found.sentence,
            "rank 1 (host a) is not in step with the others: it has left out all_to_all #3 of ep "
            "(layer 3 up_proj, forward, 2 steps done), in which rank 0 (host a) has waited for 31 "
            "s, and is in all_gather #3 of tp (layer 3 down_proj, forward, 2 steps done)");
}

TEST_F(Circle, WithoutAPastItIsToldAsItIs) {
  const Divergence found = scene_after(0).compare();
  EXPECT_EQ(found.kind, Kind::kUnclear);
  EXPECT_FALSE(found.rank.has_value());
  EXPECT_EQ(found.sentence,
            "ranks 0, 1 wait for each other: rank 0 (host a) is in all_to_all #1 of ep (layer 3 "
            "up_proj, forward, 0 steps done) and waits for rank 1, rank 1 (host a) is in "
            "all_gather #1 of tp (layer 3 down_proj, forward, 0 steps done) and waits for rank 0; "
            "the records do not tell which of them is right");
}

TEST_F(Circle, ADeadRankComesFirst) {
  Scene scene(3);
  const uint64_t ep = scene.add_group("ep", {0, 1, 2});
  const uint64_t tp = scene.add_group("tp", {0, 1});
  scene.waits_in(0, ep, "all_to_all", "head");
  scene.waits_in(1, tp, "all_gather", "head");
  scene.state(2).set_process(RankState::ended);
  EXPECT_EQ(scene.compare().rank, 2);
}

// --- Nobody waits ---

TEST(LoneRank, TheOneThatStandsStillForLongestIsNamed) {
  Scene scene(3);
  const uint64_t all = scene.add_group("all", {0, 1, 2});
  for (const int rank : {0, 1, 2}) scene.does(rank, all, "barrier", "");
  scene.state(1).set_seconds_since_progress(612.0);
  scene.state(1).set_place("layer 0 o_proj, forward");
  scene.state(1).set_phase(PHASE_EVALUATE);
  const Divergence found = scene.compare();
  EXPECT_EQ(found.kind, Kind::kAlone);
  EXPECT_EQ(found.rank, 1);
  EXPECT_EQ(found.communicator, "");
  EXPECT_EQ(found.place, "layer 0 o_proj, forward");
  EXPECT_EQ(found.step, 6);
  EXPECT_EQ(found.sentence,
            "rank 1 (host a): it is at work (layer 0 o_proj, forward, in phase evaluate, 6 steps "
            "done) and has come no further for 612 s; no rank waits for another");
}

TEST(LoneRank, ADeadOneComesFirst) {
  Scene scene(3);
  scene.state(0).set_seconds_since_progress(612.0);
  scene.loses(2);
  const Divergence found = scene.compare();
  EXPECT_EQ(found.kind, Kind::kAlone);
  EXPECT_EQ(found.rank, 2);
}

TEST(LoneRank, RanksThatHaveFinishedAreNotToBlame) {
  Scene scene(2);
  scene.state(0).set_process(RankState::ended);
  scene.state(0).set_phase(PHASE_FINISH);
  EXPECT_EQ(scene.compare().rank, 1);
  scene.state(1).set_process(RankState::ended);
  scene.state(1).set_phase(PHASE_FINISH);
  const Divergence found = scene.compare();
  EXPECT_EQ(found.kind, Kind::kUnclear);
  EXPECT_EQ(found.sentence, "every rank has ended after the last step");
}

TEST(LoneRank, AGroupOfOneNeverWaits) {
  Scene scene(1);
  scene.waits_in(0, scene.add_group("tp", {0}), "all_gather", "head");
  const Divergence found = scene.compare();
  EXPECT_EQ(found.kind, Kind::kAlone);
  EXPECT_EQ(found.rank, 0);
}

TEST(LoneRank, WithoutAnyRecordAllAreGone) {
  const Divergence found = compare_records({}, 4);
  EXPECT_EQ(found.kind, Kind::kAlone);
  EXPECT_EQ(found.rank, 0);
  EXPECT_THAT(found.sentence, HasSubstr("nothing is heard of it"));
}

// A group beyond the table of the box has no members there.
TEST(LoneRank, AGroupWithoutANameIsSaidToBeOne) {
  Scene scene(2);
  scene.waits_in(0, 77, "barrier", "");
  scene.waits_in(1, 77, "barrier", "");
  const Divergence found = scene.compare();
  EXPECT_EQ(found.kind, Kind::kUnclear);
  EXPECT_THAT(found.sentence, HasSubstr("barrier #1 of a group without a name"));
}

}  // namespace
}  // namespace molora
