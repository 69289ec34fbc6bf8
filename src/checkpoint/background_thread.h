// One thread that does one thing at a time while its owner goes on.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace molora {

class BackgroundThread {
 public:
  BackgroundThread();
  // Waits for the work at hand.
  ~BackgroundThread();
  BackgroundThread(const BackgroundThread&) = delete;
  BackgroundThread& operator=(const BackgroundThread&) = delete;
  BackgroundThread(BackgroundThread&&) = delete;
  BackgroundThread& operator=(BackgroundThread&&) = delete;

  // REQUIRES: it is not busy, and the failure of the work before was taken.
  void start(std::function<void()> work);
  bool is_busy() const;
  // Returns when it is not busy, or the time is over.
  void wait_for(std::chrono::milliseconds time) const;
  // What the latest work threw, once; "" when it ended well. REQUIRES: it is not busy.
  std::string take_failure();

 private:
  void loop();

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::function<void()> work_;  // that waits to be done or is being done; empty: idle
  std::string failure_;
  bool is_leaving_ = false;
  std::thread thread_;  // last: it uses the others
};

}  // namespace molora
