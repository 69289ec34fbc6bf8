#include "watch/work_observer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace molora {
namespace {

using ::testing::ElementsAre;

class Notes final : public WorkObserver {
 public:
  void enter_place(const WorkPlace& place) override { notes.push_back("at " + place_text(place)); }
  void leave_place() override { notes.emplace_back("left"); }
  void enter_collective(const std::string& group, const char* operation,
                        uint64_t bytes_sent) override {
    notes.push_back(group + " " + operation + " " + std::to_string(bytes_sent));
  }
  void leave_collective() override { notes.emplace_back("done"); }

  std::vector<std::string> notes;
};

TEST(WorkObserver, IsToldOfPlacesThatNest) {
  Notes notes;
  observe_thread(&notes);
  {
    const PlaceScope layer(WorkPlace{2, Direction::kForward, "down_proj"});
    const PlaceScope part("border");
  }
  observe_thread(nullptr);
  EXPECT_THAT(notes.notes, ElementsAre("at layer 2 down_proj, forward",
                                       "at layer 2 border, forward", "left", "left"));
}

TEST(WorkObserver, IsNotToldOfTheEndOfWhatItDidNotSeeBegin) {
  Notes notes;
  {
    const PlaceScope before(WorkPlace{2, Direction::kForward, "down_proj"});
    observe_thread(&notes);
  }
  {
    const CollectiveScope inside("tp", "barrier", 0);
    observe_thread(nullptr);
  }
  EXPECT_THAT(notes.notes, ElementsAre("tp barrier 0"));
}

}  // namespace
}  // namespace molora
