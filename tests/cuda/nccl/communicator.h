// One rank's end of a communicator: its state, its waits for other ranks, and what breaks it.
//
// Shared by the handle that the program holds and by the operations that lie on streams. Threads:
// the program's thread, streams' threads and, while it starts, a thread of its own.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>

#include <nccl.h>

#include "progress.h"
#include "segment.h"

namespace molora::fake_nccl {

struct CommunicatorOptions {
  std::string id;    // of the segment
  std::string name;  // for messages
  int rank = 0;
  int size = 1;
  bool is_blocking = true;
};

class Communicator {
 public:
  // On the calling thread's device. Throws std::runtime_error when there is no shared memory.
  explicit Communicator(CommunicatorOptions options);

  const std::string& name() const { return options_.name; }
  const std::string& id() const { return options_.id; }
  int rank() const { return options_.rank; }
  int size() const { return options_.size; }
  int device() const { return device_; }
  bool is_blocking() const { return options_.is_blocking; }
  const Segment& segment() const { return *segment_; }
  RankSlot& slot() const { return segment_->slot(rank()); }
  Progress& progress() { return progress_; }

  // Meets the other ranks; the result is also what error() says afterwards.
  ncclResult_t connect();
  // The other ranks need not wait for this one any more.
  void leave(Presence how);

  // Reports a breach of `rule` by rank `culprit` and fails the communicator on all ranks. Returns
  // ncclInvalidUsage.
  ncclResult_t breach(int culprit, const std::string& rule, const std::string& what);
  // This rank's end fails, with these words; others hear of it when it is aborted.
  void fail_here(ncclResult_t error, const std::string& text);
  // ncclSuccess, or what has failed here or everywhere.
  ncclResult_t error();
  std::string error_text();
  // Looks whether a rank has died; then error() is ncclRemoteError.
  void look_after_others();

  // Ends all waits; operations on streams end without a result. Returns when none is at work.
  void abort();
  bool is_aborted() const { return is_aborted_.load(); }

  // Returns when done() holds: true; or false, when the communicator has failed or was aborted.
  // `what` names the wait. Ranks that are gone, a deadlock, and the time limit fail it.
  bool wait_until(const std::function<bool()>& done, const std::string& what);
  // After a failure: the operation stays on its stream, as a GPU's does, until abort(). Breaches
  // are let go at once.
  void stay_until_aborted();
  // A random pause, when there is a seed.
  void dawdle();
  uint64_t random();

  // Operations run in the order of their issue, whatever their streams.
  uint64_t issue();
  bool start_operation(uint64_t ticket);  // false: aborted
  void finish_operation();
  bool has_unfinished();
  void wait_for_operations();

  // Of the thread that makes the calls.
  uint64_t num_calls = 0;
  uint64_t num_splits = 0;
  bool is_finalized = false;
  cudaStream_t latest_stream = nullptr;
  uint64_t latest_position = 0;
  // Of the thread that runs operations.
  uint64_t num_collectives = 0;
  // The thread that is inside a call, 0 for none.
  std::atomic<int> thread_inside{0};

 private:
  ncclResult_t check_devices();
  void check_others(const std::string& what);
  bool is_stuck(uint64_t& fingerprint, int& times);

  const CommunicatorOptions options_;
  int device_ = 0;
  int bus_ = 0;
  const std::shared_ptr<Segment> segment_;
  std::atomic<bool> is_aborted_{false};
  Progress progress_;

  std::mutex mutex_;  // of what follows
  ncclResult_t error_ = ncclSuccess;
  std::string error_text_;
  std::mt19937_64 random_;
  std::condition_variable has_moved_;
  uint64_t issued_ = 0;
  uint64_t finished_ = 0;
  bool is_at_work_ = false;
};

}  // namespace molora::fake_nccl
