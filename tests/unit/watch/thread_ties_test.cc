#include "watch/thread_ties.h"

#include <memory>
#include <thread>

#include <gtest/gtest.h>

#include "watch/black_box.h"
#include "watch/fault_injection.h"
#include "watch/work_observer.h"

namespace molora {
namespace {

TEST(ThreadTies, AnotherThreadWritesToTheBoxOfTheOneThatWaits) {
  const std::unique_ptr<BlackBox> box = BlackBox::make();
  bind_black_box(box.get());
  const ThreadTies ties = ThreadTies::of_this_thread();
  std::thread([&] {
    EXPECT_EQ(thread_black_box(), nullptr);
    {
      const TiedScope scope(ties);
      EXPECT_EQ(thread_black_box(), box.get());
      const PlaceScope place(WorkPlace{2, Direction::kBackward, "o_proj"});
      const std::vector<int> ranks = {0, 1};
      box->enter_collective(box->add_communicator("tp", ranks), 1, "all_gather", 8);
    }
    EXPECT_EQ(thread_black_box(), nullptr);
  }).join();
  const RankRecord record = box->record();
  ASSERT_EQ(record.events_size(), 1);
  EXPECT_EQ(record.events(0).operation(), "all_gather");
  bind_black_box(nullptr);
}

TEST(ThreadTies, ACollectiveToLeaveOutIsLeftOutByWhoeverComesFirst) {
  arm_faults(parse_faults("step=1,rank=0,phase=backward,kind=skip"), 0, 1);
  fault_point(FaultPhase::kBackward, 1);
  const ThreadTies ties = ThreadTies::of_this_thread();
  std::thread([&] {
    EXPECT_FALSE(take_skip());
    const TiedScope scope(ties);
    EXPECT_TRUE(take_skip());
  }).join();
  EXPECT_FALSE(take_skip());
  arm_faults({}, 0, 1);
}

TEST(ThreadTies, TheOtherThreadIsObservedToo) {
  class Counter final : public WorkObserver {
   public:
    void enter_place(const WorkPlace& /*place*/) override { ++num_places; }
    void leave_place() override {}
    void enter_collective(const std::string& /*group*/, const char* /*operation*/,
                          uint64_t /*bytes_sent*/) override {}
    void leave_collective() override {}
    int num_places = 0;
  };
  Counter counter;
  observe_thread(&counter);
  const ThreadTies ties = ThreadTies::of_this_thread();
  observe_thread(nullptr);
  std::thread([&] {
    const TiedScope scope(ties);
    const PlaceScope place(WorkPlace{2, Direction::kBackward, "o_proj"});
  }).join();
  EXPECT_EQ(counter.num_places, 1);
}

TEST(ThreadTies, OfTheSameThreadChangeNothing) {
  const TiedScope outer(ThreadTies::of_this_thread());
  const TiedScope inner(ThreadTies::of_this_thread());
  EXPECT_EQ(thread_black_box(), nullptr);
  EXPECT_FALSE(take_skip());
}

}  // namespace
}  // namespace molora
