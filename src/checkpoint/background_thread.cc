#include "checkpoint/background_thread.h"

#include <exception>
#include <utility>

#include "base/check.h"
#include "base/no_signals.h"

namespace molora {

BackgroundThread::BackgroundThread() {
  const NoSignals no_signals;
  thread_ = std::thread([this] { loop(); });
}

BackgroundThread::~BackgroundThread() {
  {
    const std::lock_guard lock(mutex_);
    is_leaving_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void BackgroundThread::start(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    MOLORA_CHECK(!work_, "work is started while other work is at hand");
    MOLORA_CHECK(failure_.empty(), "nobody took the failure of the work before: {}", failure_);
    work_ = std::move(work);
  }
  changed_.notify_all();
}

bool BackgroundThread::is_busy() const {
  const std::lock_guard lock(mutex_);
  return work_ != nullptr;
}

void BackgroundThread::wait_for(std::chrono::milliseconds time) const {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, time, [this] { return work_ == nullptr; });
}

std::string BackgroundThread::take_failure() {
  const std::lock_guard lock(mutex_);
  MOLORA_CHECK(!work_, "the work has not ended");
  return std::exchange(failure_, {});
}

void BackgroundThread::loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return work_ != nullptr || is_leaving_; });
    if (work_ == nullptr) return;
    lock.unlock();
    std::string failure;
    try {
      work_();
    } catch (const std::exception& error) {
      failure = error.what();
      if (failure.empty()) failure = "unknown failure";
    }
    lock.lock();
    failure_ = std::move(failure);
    work_ = nullptr;
    changed_.notify_all();
  }
}

}  // namespace molora
