// Hangs of real ranks, found in what their black boxes hold afterwards.
#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "comm/thread_communicator.h"
#include "support/captured_log.h"
#include "watch/black_box.h"
#include "watch/fault_injection.h"
#include "watch/flight_comparison.h"

namespace molora {
namespace {

using ::testing::HasSubstr;
using Kind = Divergence::Kind;

constexpr int kRanks = 4;
constexpr int64_t kSteps = 5;
constexpr int64_t kLastStep = 4;  // in which something happens

// A group whose collectives come from parts of a model.
class Group {
 public:
  explicit Group(std::unique_ptr<Communicator> communicator)
      : communicator_(std::move(communicator)) {}

  void all_gather(const char* part) {
    const PlaceScope scope({0, Direction::kForward, part});
    std::vector<int> all(static_cast<size_t>(communicator_->size()));
    communicator_->all_gather(std::as_bytes(std::span(&value_, 1)),
                              std::as_writable_bytes(std::span(all)));
  }
  void barrier(const char* part) {
    const PlaceScope scope({0, Direction::kForward, part});
    communicator_->barrier();
  }

 private:
  std::unique_ptr<Communicator> communicator_;
  int value_ = 7;
};

struct Groups {
  Group pair;  // {0, 1} or {2, 3}
  Group all;
};

// Runs steps on all ranks until they fail or end, and compares what they leave. `before_step` may
// arm faults or say that a rank ends here.
enum class Goes { kOn, kAway };
Divergence after(const std::function<Goes(int rank, int64_t step)>& before_step) {
  const testing::CapturedLog log;
  std::array<std::unique_ptr<BlackBox>, kRanks> boxes;
  for (auto& box : boxes) box = BlackBox::make();
  const auto rank_body = [&](Communicator& world) {
    const int rank = world.rank();
    BlackBox& box = *boxes.at(static_cast<size_t>(rank));
    bind_black_box(&box);
    box.set_rank(rank, kRanks);
    box.enter_phase(PHASE_STEP);
    Groups groups{Group(world.split("pair", rank / 2)), Group(world.split("all", 0))};
    for (int64_t step = 0; step < kSteps; ++step) {
      if (before_step(rank, step) == Goes::kAway) return;
      fault_point(FaultPhase::kForward, step + 1);
      groups.pair.all_gather("up_proj");
      fault_point(FaultPhase::kBackward, step + 1);
      groups.pair.barrier("down_proj");
      fault_point(FaultPhase::kSync, step + 1);
      groups.all.all_gather("gradient sums");
      box.set_step(step + 1);
    }
  };
  EXPECT_THROW(run_rank_threads(kRanks, rank_body, {.time_limit = std::chrono::milliseconds(500)}),
               Error);
  std::vector<RankRecord> records;
  for (size_t rank = 0; rank < boxes.size(); ++rank) {
    records.push_back(boxes[rank]->record());
    records.back().mutable_state()->set_host(rank < 2 ? "a" : "b");
  }
  return compare_records(records, kRanks);
}

Divergence after_skip(int skipping_rank, const char* phase) {
  return after([&](int rank, int64_t step) {
    if (step == kLastStep && rank == skipping_rank) {
      arm_faults(parse_faults("step=5,kind=skip,rank=" + std::to_string(rank) + ",phase=" + phase),
                 rank, 1);
    }
    return Goes::kOn;
  });
}

TEST(HangTest, ARankThatDoesNotComeIsNamed) {
  const Divergence found = after([](int rank, int64_t step) {
    return rank == 2 && step == kLastStep ? Goes::kAway : Goes::kOn;
  });
  EXPECT_EQ(found.kind, Kind::kLate);
  EXPECT_EQ(found.rank, 2);
  EXPECT_EQ(found.host, "b");
  EXPECT_EQ(found.step, kLastStep);
  EXPECT_THAT(found.sentence, HasSubstr("rank 2 (host b) has not entered all_gather #5 of "));
}

TEST(HangTest, ALeftOutCollectiveIsFoundInAGroupOfTwo) {
  for (const int rank : {0, 1, 2, 3}) {
    const Divergence found = after_skip(rank, "forward");
    EXPECT_EQ(found.kind, Kind::kMismatch) << found.sentence;
    EXPECT_EQ(found.rank, rank) << found.sentence;
    EXPECT_EQ(found.operation, "all_gather");
    EXPECT_EQ(found.sequence, 9u);
    EXPECT_EQ(found.place, "layer 0 up_proj, forward");
    EXPECT_THAT(found.sentence, HasSubstr("it has left that all_gather out"));
  }
}

// The rank goes on to a larger group, in which it waits for the one that waits for it.
TEST(HangTest, ALeftOutCollectiveIsFoundInACircle) {
  for (const int rank : {1, 2}) {
    const Divergence found = after_skip(rank, "backward");
    EXPECT_EQ(found.kind, Kind::kMismatch) << found.sentence;
    EXPECT_EQ(found.rank, rank) << found.sentence;
    EXPECT_EQ(found.operation, "barrier");
    EXPECT_EQ(found.place, "layer 0 down_proj, forward");
    EXPECT_THAT(found.sentence, HasSubstr("it has left out barrier #10 of "));
  }
}

// The last one of all: nobody comes to where the others wait, the rank is done.
TEST(HangTest, ALeftOutLastCollectiveIsOneThatIsNotEntered) {
  const Divergence found = after_skip(3, "sync");
  EXPECT_EQ(found.kind, Kind::kLate) << found.sentence;
  EXPECT_EQ(found.rank, 3);
  EXPECT_EQ(found.operation, "all_gather");
  EXPECT_EQ(found.place, "layer 0 gradient sums, forward");
}

}  // namespace
}  // namespace molora
