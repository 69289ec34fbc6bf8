#include "checkpoint/background_thread.h"

#include <signal.h>

#include <exception>
#include <utility>

#include "base/check.h"

namespace molora {

BackgroundThread::BackgroundThread() {
  // Signals are for the thread that started the program; a new thread inherits the mask.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { loop(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
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
