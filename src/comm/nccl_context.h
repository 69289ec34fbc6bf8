// NCCL for one rank: its GPU's communication stream, and communicators over it.
//
// One thread issues collectives at a time, all on one stream, in one order that is the same on
// every rank: so several groups share a GPU without waiting for each other in a circle. Two events
// tie the stream to the thread's compute stream: a collective begins after the work that was given
// before it, and later work begins after the collective. The host never waits for either; where it
// must know that the GPU has come so far, wait_until() waits and watches the collectives meanwhile.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "comm/communicator.h"

namespace molora {

class NcclContext {
 public:
  struct Options {
    int gpu = 0;  // the CUDA device of this process
    // For one collective, from when its predecessors have ended; and for NCCL to connect a group.
    std::chrono::milliseconds time_limit = std::chrono::seconds(300);
    // The calling thread's compute stream, a cudaStream_t.
    std::function<void*()> compute_stream;
  };

  // Throws: ConfigError in a build without CUDA and NCCL; CommError.
  static std::unique_ptr<NcclContext> make(Options options);

  virtual ~NcclContext() = default;
  NcclContext(const NcclContext&) = delete;
  NcclContext& operator=(const NcclContext&) = delete;
  NcclContext(NcclContext&&) = delete;
  NcclContext& operator=(NcclContext&&) = delete;

  // The same ranks as `host`, with buffers on their GPUs. Collective over `host`, over which the
  // group's id travels; it is not used afterwards. All connections are made and tried here, so that
  // what cannot connect fails at the start. REQUIRES: host.size() > 1.
  // Throws: ConfigError when two ranks have the same GPU; CommError.
  virtual std::unique_ptr<Communicator> make_communicator(Communicator& host) = 0;

  // Calls is_done() until it returns true, watching the collectives under way: one that fails, or
  // takes longer than the limit, ends all communicators on this rank (ncclCommAbort) and throws a
  // CommError that names it.
  virtual void wait_until(const std::function<bool()>& is_done) = 0;

 protected:
  NcclContext() = default;
};

// What ended this process's communicators; "" when nothing did. What comes after it, of results
// that never came, is its consequence, whatever it looks like.
std::string nccl_failure();

// Where a rank's GPU is, for messages and for finding two ranks on one: the bus address.
std::string gpu_address(int gpu);

}  // namespace molora
