#include "event.h"

#include <utility>

// What an event handle points to; never freed, so that no address stands for two events.
struct CUevent_st {
  int device;
};

namespace molora::fake_cuda {

void Mark::set() {
  const std::lock_guard lock(mutex_);
  is_set_ = true;
  set_at_ = std::chrono::steady_clock::now();
  is_set_now_.notify_all();
}

bool Mark::is_set() const {
  const std::lock_guard lock(mutex_);
  return is_set_;
}

void Mark::wait() {
  std::unique_lock lock(mutex_);
  is_set_now_.wait(lock, [&] { return is_set_; });
}

std::chrono::steady_clock::time_point Mark::set_at() const {
  const std::lock_guard lock(mutex_);
  return set_at_;
}

EventTable& events() {
  static EventTable& once = *new EventTable;
  return once;
}

cudaEvent_t EventTable::create(int device, bool has_timing) {
  auto* handle = new CUevent_st{device};
  const std::lock_guard lock(mutex_);
  events_[handle] = Event{device, has_timing, nullptr};
  return handle;
}

bool EventTable::destroy(cudaEvent_t handle) {
  const std::lock_guard lock(mutex_);
  return events_.erase(handle) == 1;
}

bool EventTable::find(cudaEvent_t handle, Event& out) const {
  const std::lock_guard lock(mutex_);
  const auto found = events_.find(handle);
  if (found == events_.end()) return false;
  out = found->second;
  return true;
}

void EventTable::set_latest(cudaEvent_t handle, std::shared_ptr<Mark> mark) {
  const std::lock_guard lock(mutex_);
  const auto found = events_.find(handle);
  if (found != events_.end()) found->second.latest = std::move(mark);
}

}  // namespace molora::fake_cuda
