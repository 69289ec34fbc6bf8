// Ranks of a test: the same body as processes of their own or as threads of one process, each with
// a device, a stream and a communicator.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>
#include <nccl.h>

#include "cuda/support/child_process.h"

namespace molora::testing {

struct Rank {
  int rank = 0;
  int size = 1;
  ncclUniqueId id{};
  cudaStream_t stream = nullptr;
};

// Device memory with these values, or what is there now.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<T>& values) : size_(values.size()) {
    EXPECT_EQ(cudaMalloc(&memory_, bytes() + 1), cudaSuccess);  // never empty
    EXPECT_EQ(cudaMemcpy(memory_, values.data(), bytes(), cudaMemcpyDefault), cudaSuccess);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }
  DeviceArray(size_t size, T value) : DeviceArray(std::vector<T>(size, value)) {}
  ~DeviceArray() { EXPECT_EQ(cudaFree(memory_), cudaSuccess); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  DeviceArray(DeviceArray&&) = delete;
  DeviceArray& operator=(DeviceArray&&) = delete;

  T* data() const { return static_cast<T*>(memory_); }
  size_t size() const { return size_; }
  // After all that was put on the stream.
  std::vector<T> values(cudaStream_t stream) const {
    std::vector<T> values(size_);
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(values.data(), memory_, bytes(), cudaMemcpyDefault), cudaSuccess);
    return values;
  }

 private:
  size_t bytes() const { return size_ * sizeof(T); }

  void* memory_ = nullptr;
  size_t size_;
};

enum class As { kProcesses, kThreads };

inline const char* text_of(As as) { return as == As::kProcesses ? "processes" : "threads"; }

inline void run_rank(int rank, int size, const ncclUniqueId& id,
                     const std::function<void(Rank&)>& body) {
  Rank self{rank, size, id, nullptr};
  ASSERT_EQ(cudaSetDevice(rank), cudaSuccess);
  ASSERT_EQ(cudaStreamCreateWithFlags(&self.stream, cudaStreamNonBlocking), cudaSuccess);
  body(self);
}

inline ncclUniqueId fresh_id() {
  ncclUniqueId id;
  EXPECT_EQ(ncclGetUniqueId(&id), ncclSuccess);
  return id;
}

// The ends of all ranks; one entry for all of them when they are threads.
inline std::vector<EndOfChild> run_ranks(As as, int size, const Environment& environment,
                                         const std::function<void(Rank&)>& body) {
  const ncclUniqueId id = fresh_id();
  std::vector<std::unique_ptr<ChildProcess>> children;
  if (as == As::kProcesses) {
    for (int rank = 0; rank < size; ++rank) {
      children.push_back(std::make_unique<ChildProcess>(
          environment, [&, rank] { run_rank(rank, size, id, body); }));
    }
  } else {
    children.push_back(std::make_unique<ChildProcess>(environment, [&] {
      std::vector<std::thread> threads;
      for (int rank = 0; rank < size; ++rank) {
        threads.emplace_back([&, rank] { run_rank(rank, size, id, body); });
      }
      for (std::thread& thread : threads) thread.join();
    }));
  }
  std::vector<EndOfChild> ends;
  for (const auto& child : children) ends.push_back(child->wait());
  return ends;
}

inline void expect_all_good(const std::vector<EndOfChild>& ends) {
  for (size_t i = 0; i < ends.size(); ++i) {
    EXPECT_TRUE(ends[i].is_good()) << "process " << i << ": exit " << ends[i].exit_code
                                   << ", signal " << ends[i].signal << "\n"
                                   << ends[i].output;
  }
}

inline std::string output_of(const std::vector<EndOfChild>& ends) {
  std::string output;
  for (const EndOfChild& end : ends) output += end.output;
  return output;
}

// A blocking communicator named "test".
inline ncclComm_t init(const Rank& rank) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.commName = "test";
  ncclComm_t comm = nullptr;
  EXPECT_EQ(ncclCommInitRankConfig(&comm, rank.size, rank.id, rank.rank, &config), ncclSuccess);
  return comm;
}

// Polls until the communicator is no longer in progress; its state then.
inline ncclResult_t state_of(ncclComm_t comm) {
  ncclResult_t state = ncclInProgress;
  while (state == ncclInProgress) {
    EXPECT_EQ(ncclCommGetAsyncError(comm, &state), ncclSuccess);
    if (state == ncclInProgress) std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  return state;
}

// Polls until the communicator has failed; its state then, or success after too long a time.
inline ncclResult_t failure_of(ncclComm_t comm) {
  ncclResult_t state = ncclSuccess;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (state == ncclSuccess || state == ncclInProgress) {
    EXPECT_EQ(ncclCommGetAsyncError(comm, &state), ncclSuccess);
    if (std::chrono::steady_clock::now() > deadline) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return state;
}

}  // namespace molora::testing
