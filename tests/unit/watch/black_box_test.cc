#include "watch/black_box.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace molora {
namespace {

using ::testing::ElementsAre;

const std::array kPair = {0, 1};

// Binds a box to this thread for a test.
class BoxTest : public ::testing::Test {
 protected:
  BoxTest() : box_(BlackBox::make()) { bind_black_box(box_.get()); }
  ~BoxTest() override { bind_black_box(nullptr); }
  BlackBox& box() { return *box_; }

 private:
  std::unique_ptr<BlackBox> box_;
};

using BlackBoxTest = BoxTest;

TEST_F(BlackBoxTest, SaysWhatTheThreadThatItIsBoundToDoes) {
  box().set_rank(3, 8);
  box().enter_phase(PHASE_STEP);
  box().set_step(7);
  box().set_saved_step(5);
  const uint64_t ep = box().add_communicator("ep", std::array{2, 3});
  {
    const PlaceScope place({4, Direction::kBackward, "down_proj"});
    box().enter_collective(ep, 212, "all_to_all", 4096);
  }
  const RankState state = box().state();
  EXPECT_EQ(state.rank(), 3);
  EXPECT_EQ(state.world_size(), 8);
  EXPECT_EQ(state.phase(), PHASE_STEP);
  EXPECT_EQ(state.step(), 7);
  EXPECT_EQ(state.saved_step(), 5);
  EXPECT_EQ(state.place(), "");
  EXPECT_EQ(state.latest().sequence(), 212);
  EXPECT_EQ(state.latest().operation(), "all_to_all");
  EXPECT_EQ(state.latest().bytes_sent(), 4096);
  EXPECT_EQ(state.latest().place(), "layer 4 down_proj, backward");
  EXPECT_EQ(state.latest().communicator(), ep);
  EXPECT_EQ(state.latest().step(), 7);
  EXPECT_FALSE(state.latest().is_over());
  box().leave_collective();
  EXPECT_TRUE(box().state().latest().is_over());
}

TEST_F(BlackBoxTest, OutlivesTheProcessThatWroteIt) {
  const pid_t child = ::fork();
  if (child == 0) {
    box().enter_phase(PHASE_SAVE);
    box().enter_collective(box().add_communicator("world", kPair), 1, "barrier", 0);
    ::raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(box().state().phase(), PHASE_SAVE);
  EXPECT_EQ(box().state().latest().operation(), "barrier");
}

TEST_F(BlackBoxTest, KeepsTheLatestCollectives) {
  const uint64_t world = box().add_communicator("world", kPair);
  const size_t count = BlackBox::kCapacity + 10;
  for (size_t i = 1; i <= count; ++i) {
    box().enter_collective(world, i, "all_gather", i);
    box().leave_collective();
  }
  const RankRecord all = box().record();
  ASSERT_EQ(static_cast<size_t>(all.events_size()), BlackBox::kCapacity);
  EXPECT_EQ(all.events(0).order(), 11);
  EXPECT_EQ(all.events(all.events_size() - 1).order(), count);
  EXPECT_EQ(box().record(3).events_size(), 3);
}

TEST_F(BlackBoxTest, KnowsTheMembersOfGroups) {
  const std::vector<int> strided = {1,  3,  5,  7,  9,  11, 13, 15, 17,
                                    19, 21, 23, 25, 27, 29, 31, 33, 35};
  box().add_communicator("dp", strided);
  box().add_communicator("odd", std::array{0, 1, 5});
  box().add_communicator("one", std::array{4});
  const RankRecord record = box().record();
  ASSERT_EQ(record.communicators_size(), 3);
  EXPECT_EQ(std::vector<int>(record.communicators(0).ranks().begin(),
                             record.communicators(0).ranks().end()),
            strided);
  EXPECT_THAT(record.communicators(1).ranks(), ElementsAre(0, 1, 5));
  EXPECT_THAT(record.communicators(2).ranks(), ElementsAre(4));
}

// Ranks 0 and 1 are members of both, rank 1 of another one in between: ids must agree all the same.
TEST(BlackBoxIds, AreTheSameOnAllMembers) {
  const auto of_zero = BlackBox::make();
  const auto of_one = BlackBox::make();
  const uint64_t first = of_zero->add_communicator("tp", kPair);
  const uint64_t second = of_zero->add_communicator("tp", kPair);
  EXPECT_NE(first, second);
  EXPECT_EQ(of_one->add_communicator("tp", kPair), first);
  EXPECT_NE(of_one->add_communicator("dp", std::array{1, 3}), first);
  EXPECT_EQ(of_one->add_communicator("tp", kPair), second);
}

TEST_F(BlackBoxTest, MoreGroupsThanFitAreNotAnError) {
  for (size_t i = 0; i < BlackBox::kMaxCommunicators + 5; ++i) {
    box().add_communicator("group", std::array{0, static_cast<int>(i) + 1});
  }
  EXPECT_EQ(static_cast<size_t>(box().record().communicators_size()), BlackBox::kMaxCommunicators);
}

TEST_F(BlackBoxTest, ProgressIsWhatTheDeadlineCountsFrom) {
  SupervisorConfig config;
  config.mutable_deadlines()->set_load(17);
  config.mutable_deadlines()->set_save(19);
  config.set_heartbeat_timeout(9);
  box().set_run("run", config);
  EXPECT_EQ(box().heartbeat_timeout(), 9);
  EXPECT_TRUE(box().folder().is_absolute());
  EXPECT_EQ(box().folder().filename(), "run");
  box().enter_phase(PHASE_LOAD);
  EXPECT_EQ(box().state().deadline(), 17);
  const uint64_t before = box().state().progress();
  ::usleep(20'000);
  EXPECT_GE(box().state().seconds_since_progress(), 0.02);
  {
    const PhaseScope saving(PHASE_SAVE);
    EXPECT_EQ(box().state().deadline(), 19);
  }
  EXPECT_EQ(box().state().phase(), PHASE_LOAD);
  EXPECT_EQ(box().state().progress(), before + 2);
  box().tick();
  EXPECT_EQ(box().state().progress(), before + 3);
}

TEST_F(BlackBoxTest, KeepsWhereAnExceptionCameFrom) {
  box().enter_phase(PHASE_STEP);
  try {
    const PhaseScope saving(PHASE_SAVE);
    const PlaceScope outer({3, Direction::kForward, "outer"});
    const PlaceScope inner("checkpoint");
    throw std::runtime_error("disk");
  } catch (const std::runtime_error&) {
    EXPECT_EQ(box().state().phase(), PHASE_SAVE);
    EXPECT_EQ(box().state().place(), "layer 3 checkpoint, forward");
    EXPECT_EQ(place_text(current_place()), "");
  }
}

TEST_F(BlackBoxTest, TheFirstFailureStays) {
  EXPECT_FALSE(box().failure().has_fault());
  box().set_failure(FAULT_STORAGE, 74, "disk full");
  box().set_failure(FAULT_LOST, 76, "a peer is gone");
  EXPECT_EQ(box().failure().fault(), FAULT_STORAGE);
  EXPECT_EQ(box().failure().exit_code(), 74);
  EXPECT_EQ(box().failure().message(), "disk full");
}

TEST_F(BlackBoxTest, LongTextsAreCut) {
  const std::string name(100, 'n');
  const std::string long_part(100, 'p');
  box().add_communicator(name, kPair);
  box().set_failure(FAULT_DATA, 64, std::string(10'000, 'm'));
  const PlaceScope place({0, Direction::kForward, long_part.c_str()});
  EXPECT_EQ(box().record().communicators(0).name(), std::string(23, 'n'));
  EXPECT_EQ(box().failure().message(), std::string(3999, 'm'));
  EXPECT_EQ(box().state().place(), "layer 0 " + std::string(26, 'p') + ", forward");
}

TEST(Place, IsWrittenForPeople) {
  EXPECT_EQ(place_text({}), "");
  EXPECT_EQ(place_text({3, Direction::kForward, "down_proj"}), "layer 3 down_proj, forward");
  EXPECT_EQ(place_text({WorkPlace::kNoLayer, Direction::kNone, "gradient sums"}), "gradient sums");
  EXPECT_EQ(place_text({2, Direction::kNone, ""}), "layer 2");
  EXPECT_EQ(place_text({WorkPlace::kNoLayer, Direction::kBackward, ""}), "backward");
}

TEST(Place, ComesBackWhenTheScopeEnds) {
  {
    const PlaceScope outer({1, Direction::kForward, "outer"});
    {
      const PlaceScope inner("inner");
      EXPECT_EQ(place_text(current_place()), "layer 1 inner, forward");
    }
    EXPECT_EQ(place_text(current_place()), "layer 1 outer, forward");
  }
  EXPECT_EQ(place_text(current_place()), "");
}

}  // namespace
}  // namespace molora
