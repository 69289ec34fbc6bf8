#include <array>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/thread_communicator.h"
#include "watch/work_observer.h"

namespace molora {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class Notes final : public WorkObserver {
 public:
  void enter_place(const WorkPlace& /*place*/) override {}
  void leave_place() override {}
  void enter_collective(const std::string& group, const char* operation,
                        uint64_t bytes_sent) override {
    notes.push_back(group + " " + operation + " " + std::to_string(bytes_sent));
  }
  void leave_collective() override { notes.emplace_back("done"); }

  std::vector<std::string> notes;
};

// What rank 0 of two notes.
std::vector<std::string> notes_of(const std::function<void(Communicator&)>& body, int ranks = 2) {
  Notes notes;
  run_rank_threads(ranks, [&](Communicator& world) {
    if (world.rank() == 0) observe_thread(&notes);
    body(world);
    observe_thread(nullptr);
  });
  return notes.notes;
}

TEST(ObservedCollectives, HaveGroupOperationAndBytesSent) {
  EXPECT_THAT(notes_of([](Communicator& world) {
                std::array<std::byte, 6> mine{};
                std::array<std::byte, 12> all{};
                world.barrier();
                world.broadcast(mine, 0);
                world.all_gather(mine, all);
              }),
              ElementsAre("world barrier 0", "done", "world broadcast 6", "done",
                          "world all_gather 6", "done"));
}

TEST(ObservedCollectives, AnExchangeIsStartedAndWaitedFor) {
  EXPECT_THAT(notes_of([](Communicator& world) {
                std::array<std::byte, 6> send{};
                std::array<std::byte, 6> recv{};
                const std::vector<size_t> parts = {3, 3};
                const auto pending = world.start_all_to_all(send, parts, recv, parts);
                pending->wait();
              }),
              ElementsAre("world all_to_all 3", "done", "world wait for all_to_all 0", "done"));
}

TEST(ObservedCollectives, OfOneRankAreNone) {
  EXPECT_THAT(notes_of([](Communicator& world) { world.barrier(); }, 1), IsEmpty());
}

}  // namespace
}  // namespace molora
