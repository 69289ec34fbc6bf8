// All streams of the process: which handles are alive, the default stream of each device, and the
// order that default streams keep with others.
//
// Handles are never used twice, so that a destroyed one is always known as such. Thread-safe.
#pragma once

#include <driver_types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "stream.h"

namespace molora::fake_cuda {

class StreamTable {
 public:
  cudaStream_t create(int device, Stream::With with, int priority);
  // False when the handle is not alive. What is on the stream is still done.
  bool destroy(cudaStream_t handle);

  // The stream of a handle, nullptr when it is not one. The null handle and cudaStreamLegacy are
  // the default stream of `device`. Per-thread default streams end the process, with their name.
  std::shared_ptr<Stream> find(cudaStream_t handle, int device);

  // Appends work in the order that default streams demand; returns the position.
  uint64_t submit(Stream& stream, Stream::Work work);

  bool is_idle(int device);
  void wait_for_device(int device);

 private:
  std::vector<std::shared_ptr<Stream>> streams_of(int device);
  std::shared_ptr<Stream> default_stream(int device);
  void order_after(Stream& later, const std::shared_ptr<Stream>& earlier);

  std::mutex mutex_;         // of the members
  std::mutex submit_mutex_;  // makes an entry and its waits one
  std::unordered_map<cudaStream_t, std::shared_ptr<Stream>> streams_;
  std::vector<std::shared_ptr<Stream>> leaving_;  // destroyed, and perhaps still at work
  std::map<int, std::shared_ptr<Stream>> defaults_;
};

StreamTable& streams();

// The device of the calling thread, as cudaSetDevice sets it.
int& current_device();

}  // namespace molora::fake_cuda
