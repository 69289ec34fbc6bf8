// What tests of the fake run time share: a process of its own for each, and what it says.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include <cuda_runtime_api.h>
#include <gmock/gmock.h>

#include "cuda/support/child_process.h"

namespace molora::testing {

// What a process says, which must end well.
inline std::string said_by(const std::function<void()>& body, const Environment& environment = {}) {
  const EndOfChild end = run_in_child(environment, body);
  EXPECT_TRUE(end.is_good()) << end.output;
  return end.output;
}

// Runs body() in a process that must end well and say nothing.
inline void expect_quiet(const std::function<void()>& body, const Environment& environment = {}) {
  EXPECT_EQ(said_by(body, environment), "");
}

// Delays before work on streams, as long as tests can notice.
inline const Environment kSlow = {{"FAKE_CUDA_SEED", "11"}, {"FAKE_CUDA_MAX_DELAY_US", "20000"}};

inline void expect_ok(cudaError_t error) {
  EXPECT_EQ(error, cudaSuccess) << cudaGetErrorName(error);
}

inline float* device_floats(size_t count, float value) {
  void* memory = nullptr;
  const std::vector<float> values(count, value);
  expect_ok(cudaMalloc(&memory, count * sizeof(float)));
  expect_ok(cudaMemcpy(memory, values.data(), count * sizeof(float), cudaMemcpyHostToDevice));
  return static_cast<float*>(memory);
}

inline float first_of(const float* device_memory) {
  float value = 0;
  expect_ok(cudaMemcpy(&value, device_memory, sizeof value, cudaMemcpyDeviceToHost));
  return value;
}

inline cudaStream_t new_stream() {
  cudaStream_t stream = nullptr;
  expect_ok(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return stream;
}

// Keeps a stream busy until open() is called.
class Gate {
 public:
  explicit Gate(cudaStream_t stream) {
    mutex_.lock();
    expect_ok(cudaLaunchHostFunc(
        stream, [](void* gate) { const std::lock_guard lock(static_cast<Gate*>(gate)->mutex_); },
        this));
  }
  void open() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

}  // namespace molora::testing
