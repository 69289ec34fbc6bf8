#include "watch/place.h"

#include <exception>

#include <fmt/format.h>

#include "watch/black_box.h"
#include "watch/nvtx_range.h"
#include "watch/work_observer.h"

namespace molora {

namespace {

thread_local WorkPlace place;

void move_to(const WorkPlace& next) {
  place = next;
  if (BlackBox* box = thread_black_box()) box->set_place(next);
}

}  // namespace

std::string place_text(const WorkPlace& place) {
  std::string text;
  if (place.layer != WorkPlace::kNoLayer) text = fmt::format("layer {}", place.layer);
  if (*place.part != 0) text += (text.empty() ? "" : " ") + std::string(place.part);
  if (place.direction == Direction::kNone) return text;
  const char* direction = place.direction == Direction::kForward ? "forward" : "backward";
  return text.empty() ? std::string(direction) : fmt::format("{}, {}", text, direction);
}

WorkPlace current_place() { return place; }

PlaceScope::PlaceScope(const WorkPlace& next)
    : before_(place),
      num_exceptions_(std::uncaught_exceptions()),
      observer_(thread_observer()),
      has_nvtx_range_(begin_nvtx_range(next)) {
  move_to(next);
  if (observer_ != nullptr) observer_->enter_place(next);
}

PlaceScope::PlaceScope(const char* part)
    : PlaceScope(WorkPlace{place.layer, place.direction, part}) {}

PlaceScope::~PlaceScope() {
  if (has_nvtx_range_) end_nvtx_range();
  if (observer_ != nullptr && observer_ == thread_observer()) observer_->leave_place();
  if (std::uncaught_exceptions() > num_exceptions_) {
    place = before_;
  } else {
    move_to(before_);
  }
}

}  // namespace molora
