#include "progress.h"

#include <utility>

namespace molora::fake_nccl {

void Progress::begin(int polls, std::function<ncclResult_t()> launch) {
  const std::lock_guard lock(mutex_);
  polls_ = polls;
  launch_ = std::move(launch);
  is_unpolled_ = true;
}

void Progress::begin_start() {
  const std::lock_guard lock(mutex_);
  is_starting_ = true;
  is_unpolled_ = true;
}

void Progress::finish_start() {
  const std::lock_guard lock(mutex_);
  is_starting_ = false;
}

void Progress::stay_for_ever() {
  const std::lock_guard lock(mutex_);
  is_stuck_ = true;
  is_unpolled_ = true;
}

bool Progress::must_be_polled() const {
  const std::lock_guard lock(mutex_);
  return is_unpolled_;
}

ncclResult_t Progress::poll() {
  const std::lock_guard lock(mutex_);
  if (is_stuck_ || is_starting_) return ncclInProgress;
  if (polls_ > 0) {
    --polls_;
    return ncclInProgress;
  }
  // The lock is kept, so that another thread does not see success before the launch.
  const auto launch = std::exchange(launch_, nullptr);
  const ncclResult_t result = launch ? launch() : ncclSuccess;
  is_unpolled_ = false;
  return result;
}

}  // namespace molora::fake_nccl
