// ncclInProgress as a nonblocking communicator shows it: a call that answers it is carried out only
// when the program has asked for the state often enough.
//
// Thread-safe.
#pragma once

#include <functional>
#include <mutex>

#include <nccl.h>

namespace molora::fake_nccl {

class Progress {
 public:
  // The next `polls` looks at the state answer ncclInProgress; then `launch` is carried out.
  void begin(int polls, std::function<ncclResult_t()> launch);
  // ncclInProgress until finish(), or for ever.
  void begin_start();
  void finish_start();
  void stay_for_ever();

  // Whether a call answered ncclInProgress and nobody has seen ncclSuccess since.
  bool must_be_polled() const;
  // One look at the state.
  ncclResult_t poll();

 private:
  mutable std::mutex mutex_;
  std::function<ncclResult_t()> launch_;
  int polls_ = 0;
  bool is_starting_ = false;
  bool is_stuck_ = false;
  bool is_unpolled_ = false;
};

}  // namespace molora::fake_nccl
