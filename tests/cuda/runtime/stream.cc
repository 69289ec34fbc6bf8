#include "stream.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

#include "settings.h"

namespace molora::fake_cuda {

namespace {

uint64_t next_number() {
  static std::atomic<uint64_t> number{0};
  return number.fetch_add(1) + 1;
}

}  // namespace

Stream::Stream(int device, With with, int priority)
    : device_(device),
      with_(with),
      priority_(priority),
      number_(next_number()),
      random_(settings().seed * 1'000'003 +
              static_cast<uint64_t>(settings().devices.at(static_cast<size_t>(device))) * 1009 +
              number_) {}

uint64_t Stream::enqueue(Work work) {
  const std::lock_guard lock(mutex_);
  queue_.push_back(std::move(work));
  ++enqueued_;
  if (!is_started_) {
    is_started_ = true;
    std::thread([self = shared_from_this()] { self->work_off(); }).detach();
  }
  has_work_.notify_one();
  return enqueued_;
}

uint64_t Stream::end() const {
  const std::lock_guard lock(mutex_);
  return enqueued_;
}

bool Stream::is_done(uint64_t position) const {
  const std::lock_guard lock(mutex_);
  return done_ >= position;
}

bool Stream::is_idle() const {
  const std::lock_guard lock(mutex_);
  return done_ == enqueued_;
}

void Stream::wait(uint64_t position) {
  std::unique_lock lock(mutex_);
  has_moved_.wait(lock, [&] { return done_ >= position; });
}

StreamOrder Stream::order() const {
  const std::lock_guard lock(mutex_);
  StreamOrder order = order_;
  order[number_] = enqueued_;
  return order;
}

void Stream::comes_after(const StreamOrder& order) {
  const std::lock_guard lock(mutex_);
  for (const auto& [stream, position] : order) {
    uint64_t& known = order_[stream];
    known = std::max(known, position);
  }
}

void Stream::close() {
  const std::lock_guard lock(mutex_);
  is_closed_ = true;
  has_work_.notify_one();
}

void Stream::work_off() {
  std::unique_lock lock(mutex_);
  while (true) {
    has_work_.wait(lock, [&] { return !queue_.empty() || is_closed_; });
    if (queue_.empty()) return;
    Work work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    dawdle();
    work();
    work = nullptr;  // what it holds goes before anybody hears that it is done
    lock.lock();
    ++done_;
    has_moved_.notify_all();
  }
}

void Stream::dawdle() {
  if (settings().seed == 0 || settings().max_delay_us == 0 || random_() % 2 == 0) return;
  const uint64_t limit = static_cast<uint64_t>(settings().max_delay_us);
  std::this_thread::sleep_for(std::chrono::microseconds(random_() % (limit + 1)));
}

}  // namespace molora::fake_cuda
