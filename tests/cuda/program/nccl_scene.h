// One rank of a test of NCCL: its GPU, a compute stream, and memory there.
#pragma once

#include <algorithm>
#include <memory>

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include "comm/mpi_communicator.h"
#include "comm/mpi_env.h"
#include "comm/nccl_context.h"
#include "support/test_memory.h"

namespace molora::testing {

class DeviceMemory final : public TestMemory {
 public:
  explicit DeviceMemory(cudaStream_t stream) : stream_(stream) {}

  std::byte* take(size_t bytes) override {
    void* memory = nullptr;
    EXPECT_EQ(cudaMalloc(&memory, std::max<size_t>(bytes, 1)), cudaSuccess);
    return static_cast<std::byte*>(memory);
  }
  void give_back(std::byte* memory) override {
    cudaStreamSynchronize(stream_);
    EXPECT_EQ(cudaFree(memory), cudaSuccess);
  }
  void write(std::byte* to, std::span<const std::byte> from) override {
    EXPECT_EQ(cudaMemcpyAsync(to, from.data(), from.size(), cudaMemcpyHostToDevice, stream_),
              cudaSuccess);
  }
  void read(std::span<std::byte> to, const std::byte* from) override {
    EXPECT_EQ(cudaMemcpyAsync(to.data(), from, to.size(), cudaMemcpyDeviceToHost, stream_),
              cudaSuccess);
    EXPECT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  }

 private:
  cudaStream_t stream_;
};

// This rank's GPU. With more ranks than GPUs they share them, as tests/gpu/run.sh does on purpose.
inline int gpu_of_rank() {
  int gpus = 0;
  EXPECT_EQ(cudaGetDeviceCount(&gpus), cudaSuccess);
  return gpus > 0 ? MpiEnvironment::local_rank() % gpus : 0;
}

class NcclScene : public ::testing::Test {
 protected:
  NcclScene() {
    cudaSetDevice(gpu_);
    cudaStreamCreateWithFlags(&compute_, cudaStreamNonBlocking);
    context_ = make_context(std::chrono::seconds(60));
    memory_ = std::make_unique<DeviceMemory>(compute_);
  }
  ~NcclScene() override {
    context_.reset();
    cudaStreamDestroy(compute_);
  }

  std::unique_ptr<NcclContext> make_context(std::chrono::milliseconds limit) {
    return NcclContext::make(
        {.gpu = gpu_, .time_limit = limit, .compute_stream = [this] { return compute_; }});
  }

  std::unique_ptr<Communicator> world_ = make_mpi_world();
  int gpu_ = gpu_of_rank();
  cudaStream_t compute_ = nullptr;
  std::unique_ptr<NcclContext> context_;
  std::unique_ptr<DeviceMemory> memory_;
};

}  // namespace molora::testing
