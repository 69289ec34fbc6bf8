// Events: each recording is a mark that its stream sets when it comes there.
#pragma once

#include <driver_types.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "stream.h"

namespace molora::fake_cuda {

// One recording of an event. Thread-safe.
class Mark {
 public:
  // All that is done when this is set; told once, before anybody else knows the mark.
  void set_order(StreamOrder order) { order_ = std::move(order); }
  const StreamOrder& order() const { return order_; }

  void set();
  bool is_set() const;
  void wait();
  // REQUIRES: is_set().
  std::chrono::steady_clock::time_point set_at() const;

 private:
  StreamOrder order_;
  mutable std::mutex mutex_;
  std::condition_variable is_set_now_;
  bool is_set_ = false;
  std::chrono::steady_clock::time_point set_at_;
};

struct Event {
  int device = 0;
  bool has_timing = false;
  std::shared_ptr<Mark> latest;  // nullptr: never recorded, which counts as done
};

// The live events of the process; handles are never used twice. Thread-safe.
class EventTable {
 public:
  cudaEvent_t create(int device, bool has_timing);
  bool destroy(cudaEvent_t handle);
  // A copy of the event as it is now; false when the handle is not alive.
  bool find(cudaEvent_t handle, Event& out) const;
  void set_latest(cudaEvent_t handle, std::shared_ptr<Mark> mark);

 private:
  mutable std::mutex mutex_;
  std::unordered_map<cudaEvent_t, Event> events_;
};

EventTable& events();

}  // namespace molora::fake_cuda
