// What the NCCL communicators of one process share: the stream, the collectives under way, and the
// end of all of them when one fails. Not for other folders.
//
// Beside the thread that works a watchman looks at the collectives under way: that thread may be
// held where it can look at nothing, in a call of CUDA or LibTorch that waits for the GPU. When the
// watchman has ended the communicators, the GPU goes on, the thread comes back, and its next call
// here throws what was found.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <cuda_runtime_api.h>
#include <nccl.h>

#include "comm/nccl_context.h"
#include "watch/place.h"

namespace molora {

// A collective as messages name it.
struct NcclOperation {
  const char* name = "";
  std::string group;      // "rank 1 of 4 (tp)"
  uint64_t sequence = 0;  // in its group
  uint64_t bytes = 0;
};

class NcclState {
 public:
  explicit NcclState(NcclContext::Options options);
  ~NcclState();
  NcclState(const NcclState&) = delete;
  NcclState& operator=(const NcclState&) = delete;
  NcclState(NcclState&&) = delete;
  NcclState& operator=(NcclState&&) = delete;

  cudaStream_t stream() const { return stream_; }
  int gpu() const { return options_.gpu; }

  void add(ncclComm_t comm) {
    const auto held = lock();
    comms_.push_back(comm);
  }
  // Ends the communicator: in order when nothing is amiss, after all that is under way, which it
  // waits for within the limit; else at once and with it all others. Never throws.
  void remove(ncclComm_t comm);

  // The communication stream from here on comes after the calling thread's compute stream.
  void follow_compute();
  // Notes a collective that was just put on the stream; `done` marks its end.
  cudaEvent_t note(const NcclOperation& operation);
  // The calling thread's compute stream from here on comes after `done`.
  void lead_compute(cudaEvent_t done);

  // Waits, within the limit, until a call on a nonblocking communicator has really returned.
  void settle(ncclComm_t comm, ncclResult_t result, const NcclOperation& operation);
  void check(cudaError_t result, const char* call);
  // Whether the stream has come to the event. Throws when the GPU says it never will.
  bool is_reached(cudaEvent_t event);

  // Held while calls of NCCL are made: the watchman ends nothing in the middle of them.
  [[nodiscard]] std::unique_lock<std::recursive_mutex> lock() { return std::unique_lock(mutex_); }

  void wait_until(const std::function<bool()>& is_done);
  // Throws the error that ended the communicators, once there was one.
  void check_alive() const;
  // Ends all communicators at once and throws.
  [[noreturn]] void fail(const std::string& what);

 private:
  using Clock = std::chrono::steady_clock;
  struct Pending {
    NcclOperation operation;
    WorkPlace place;
    cudaEvent_t done = nullptr;
    Clock::time_point issued;
  };
  void abort_all();
  void watch();
  void drop_finished();
  void finish_pending();
  std::string describe(const Pending& pending, Clock::duration waited) const;
  bool is_over_limit(Clock::time_point since) const;
  cudaEvent_t take_event();
  cudaStream_t compute_stream() const;

  void keep_watch(const std::stop_token& stop);

  NcclContext::Options options_;
  std::recursive_mutex mutex_;  // of all below
  cudaStream_t stream_ = nullptr;
  cudaEvent_t compute_reached_ = nullptr;
  std::vector<ncclComm_t> comms_;
  std::deque<Pending> pending_;  // in the order of the stream
  NcclOperation latest_;
  Clock::time_point last_end_;  // when the latest of them was seen to have ended
  std::vector<cudaEvent_t> free_events_;
  std::string failure_;
  std::jthread watchman_;  // last: it uses all of the above
};

}  // namespace molora
