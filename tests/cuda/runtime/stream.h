// A stream: a queue of work and the thread that does it, one piece after another.
//
// The thread is started by the first piece of work. With a seed it dawdles before some pieces, so
// that whoever forgets to wait sees it. The order of streams among each other is kept as a vector
// clock: what a stream's next work is known to come after.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>

namespace molora::fake_cuda {

// Stream number -> the position there that is done before.
using StreamOrder = std::map<uint64_t, uint64_t>;

class Stream : public std::enable_shared_from_this<Stream> {
 public:
  using Work = std::function<void()>;
  enum class With { kDefault, kNotDefault };  // whether it keeps order with the default stream

  Stream(int device, With with, int priority);

  int device() const { return device_; }
  bool keeps_order_with_default() const { return with_ == With::kDefault; }
  int priority() const { return priority_; }
  uint64_t number() const { return number_; }  // unique in the process

  // Appends work and returns its position: 1, 2, ...
  uint64_t enqueue(Work work);

  uint64_t end() const;  // position of the latest work
  bool is_done(uint64_t position) const;
  bool is_idle() const;
  // Blocks until the work at `position` is done.
  void wait(uint64_t position);

  // What the next work comes after, this stream's own work included.
  StreamOrder order() const;
  void comes_after(const StreamOrder& order);

  // No more work comes; the thread ends when all is done.
  void close();

 private:
  void work_off();
  void dawdle();

  const int device_;
  const With with_;
  const int priority_;
  const uint64_t number_;
  std::mt19937_64 random_;  // of the thread

  mutable std::mutex mutex_;
  std::condition_variable has_work_;
  std::condition_variable has_moved_;
  std::deque<Work> queue_;
  StreamOrder order_;
  uint64_t enqueued_ = 0;
  uint64_t done_ = 0;
  bool is_started_ = false;
  bool is_closed_ = false;
};

}  // namespace molora::fake_cuda
