// What part of the work a thread is at: "layer 3 down_proj, backward". Noted with each collective
// in the black box (watch/black_box.h), so that a report of a hang names it.
#pragma once

#include <cstdint>
#include <string>

namespace molora {

class WorkObserver;

enum class Direction : uint8_t { kNone, kForward, kBackward };

struct WorkPlace {
  static constexpr int kNoLayer = -1;
  int32_t layer = kNoLayer;
  Direction direction = Direction::kNone;
  const char* part = "";  // a string literal: "down_proj", "head", "gradient sums"
};

// "layer 3 down_proj, backward"; "" of nothing.
std::string place_text(const WorkPlace& place);

// Of this thread.
WorkPlace current_place();

// The place of this thread while it lives; the one before comes back. When an exception leaves the
// scope, the black box keeps the place that it came from.
class PlaceScope {
 public:
  explicit PlaceScope(const WorkPlace& place);
  // A part of where we are: layer and direction stay.
  explicit PlaceScope(const char* part);
  ~PlaceScope();
  PlaceScope(const PlaceScope&) = delete;
  PlaceScope& operator=(const PlaceScope&) = delete;
  PlaceScope(PlaceScope&&) = delete;
  PlaceScope& operator=(PlaceScope&&) = delete;

 private:
  WorkPlace before_;
  int num_exceptions_;
  WorkObserver* observer_;  // that was told of the place
  bool has_nvtx_range_;
};

}  // namespace molora
