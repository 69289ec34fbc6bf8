// Rules on memory and streams, and when results land.
#include <array>
#include <cmath>

#include "breach.h"

namespace molora::testing {
namespace {

using ::testing::HasSubstr;

// A gather of 4 floats in a communicator of one rank, from and to these places.
void expect_refused(const std::string& why,
                    const std::function<std::array<float*, 2>(const DeviceArray<float>&)>& places) {
  expect_breach(1, "rank 0 of 1 (comm test): RULE " + why, [&](Rank& rank, ncclComm_t comm) {
    const DeviceArray<float> memory(16, 1.0f);
    const auto [send, recv] = places(memory);
    EXPECT_EQ(ncclAllGather(send, recv, 4, ncclFloat32, comm, rank.stream), ncclInvalidUsage);
  });
}

TEST(NcclBuffers, AreAlive) {
  expect_refused(
      "buffer: AllGather of 4 float32: the send buffer, expected 16 bytes of live memory of "
      "device 0: ",
      [](const DeviceArray<float>& memory) -> std::array<float*, 2> {
        void* freed = nullptr;
        EXPECT_EQ(cudaMalloc(&freed, 64), cudaSuccess);
        EXPECT_EQ(cudaFree(freed), cudaSuccess);
        return {static_cast<float*>(freed), memory.data()};
      });
}

TEST(NcclBuffers, AreNotOnTheHost) {
  static float host[4];
  expect_refused(
      "buffer: AllGather of 4 float32: the receive buffer, expected 16 bytes of live memory "
      "of device 0: ",
      [](const DeviceArray<float>& memory) -> std::array<float*, 2> {
        return {memory.data(), host};
      });
}

TEST(NcclBuffers, AreNotPinnedHostMemory) {
  expect_refused(
      "buffer: AllGather of 4 float32: the receive buffer, expected 16 bytes of live memory "
      "of device 0: ",
      [](const DeviceArray<float>& memory) -> std::array<float*, 2> {
        void* pinned = nullptr;
        EXPECT_EQ(cudaMallocHost(&pinned, 64), cudaSuccess);
        return {memory.data(), static_cast<float*>(pinned)};
      });
}

TEST(NcclBuffers, AreLongEnough) {
  expect_refused(
      "buffer: AllGather of 4 float32: the receive buffer, expected 16 bytes of live memory "
      "of device 0: 16 bytes are used, but ",
      [](const DeviceArray<float>& memory) -> std::array<float*, 2> {
        return {memory.data(), memory.data() + 13};
      });
}

TEST(NcclBuffers, AreOnTheDeviceOfTheCommunicator) {
  expect_refused(
      "buffer: AllGather of 4 float32: the send buffer, expected 16 bytes of live memory of "
      "device 0: ",
      [](const DeviceArray<float>& memory) -> std::array<float*, 2> {
        void* elsewhere = nullptr;
        EXPECT_EQ(cudaSetDevice(1), cudaSuccess);
        EXPECT_EQ(cudaMalloc(&elsewhere, 64), cudaSuccess);
        EXPECT_EQ(cudaSetDevice(0), cudaSuccess);
        return {static_cast<float*>(elsewhere), memory.data()};
      });
}

TEST(NcclBuffers, OverlapOnlyInPlace) {
  expect_refused("overlap: AllGather of 4 float32: send and receive buffer overlap",
                 [](const DeviceArray<float>& memory) -> std::array<float*, 2> {
                   return {memory.data() + 1, memory.data()};
                 });
}

TEST(NcclBuffers, OfAnAllToAllNeverOverlap) {
  expect_breach(1, "rank 0 of 1 (comm test): RULE overlap: AlltoAll of 4 float32",
                [](Rank& rank, ncclComm_t comm) {
                  const DeviceArray<float> memory(4, 1.0f);
                  EXPECT_EQ(
                      ncclAlltoAll(memory.data(), memory.data(), 4, ncclFloat32, comm, rank.stream),
                      ncclInvalidUsage);
                });
}

TEST(NcclBuffers, AreStillAliveWhenTheStreamComesToThem) {
  expect_breach(
      1,
      "rank 0 of 1 (comm test): RULE buffer: Broadcast of 4 int8, root 0, when the stream "
      "comes to it: ",
      [](Rank& rank, ncclComm_t comm) {
        void* memory = nullptr;
        EXPECT_EQ(cudaMalloc(&memory, 4), cudaSuccess);
        EXPECT_EQ(cudaFreeAsync(memory, rank.stream), cudaSuccess);
        (void)ncclBcast(memory, 4, ncclInt8, 0, comm, rank.stream);
      },
      {{"FAKE_CUDA_SEED", "4"}, {"FAKE_CUDA_MAX_DELAY_US", "100000"}});
}

TEST(NcclStreams, AreOfTheDeviceOfTheCommunicator) {
  expect_breach(
      1,
      "rank 0 of 1 (comm test): RULE stream-device: Broadcast of 4 int8, root 0: expected a "
      "stream of device 0, got one of device 1",
      [](Rank&, ncclComm_t comm) {
        const DeviceArray<char> memory(4, 1);
        cudaStream_t elsewhere = nullptr;
        EXPECT_EQ(cudaSetDevice(1), cudaSuccess);
        EXPECT_EQ(cudaStreamCreate(&elsewhere), cudaSuccess);
        EXPECT_EQ(cudaSetDevice(0), cudaSuccess);
        EXPECT_EQ(ncclBcast(memory.data(), 4, ncclInt8, 0, comm, elsewhere), ncclInvalidUsage);
      });
}

TEST(NcclStreams, AreAlive) {
  expect_breach(
      1,
      "rank 0 of 1 (comm test): RULE stream-device: Broadcast of 4 int8, root 0: expected a "
      "stream of device 0, got one that is destroyed or never was one",
      [](Rank&, ncclComm_t comm) {
        const DeviceArray<char> memory(4, 1);
        cudaStream_t gone = nullptr;
        EXPECT_EQ(cudaStreamCreate(&gone), cudaSuccess);
        EXPECT_EQ(cudaStreamDestroy(gone), cudaSuccess);
        EXPECT_EQ(ncclBcast(memory.data(), 4, ncclInt8, 0, comm, gone), ncclInvalidUsage);
      });
}

// What the host finds in device memory without any wait, which only the fake allows.
float peek(const float* device_memory) {
  return *static_cast<const volatile float*>(device_memory);
}

TEST(NcclResults, AreNotThereBeforeAllRanksHaveCome) {
  expect_all_good(run_ranks(As::kThreads, 2, {}, [](Rank& rank) {
    static std::atomic<bool> has_looked{false};
    ncclComm_t comm = init(rank);
    const DeviceArray<float> send(1, 5.0f);
    const DeviceArray<float> recv(2, 1.0f);
    if (rank.rank == 1) {
      while (!has_looked) std::this_thread::yield();
    }
    EXPECT_EQ(ncclAllGather(send.data(), recv.data(), 1, ncclFloat32, comm, rank.stream),
              ncclSuccess);
    if (rank.rank == 0) {
      EXPECT_TRUE(std::isnan(peek(recv.data())));
      EXPECT_TRUE(std::isnan(peek(recv.data() + 1)));
      EXPECT_EQ(cudaStreamQuery(rank.stream), cudaErrorNotReady);
      has_looked = true;
    }
    EXPECT_EQ(recv.values(rank.stream), (std::vector<float>{5.0f, 5.0f}));
    EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
  }));
}

TEST(NcclResults, DoNotSpoilWhatEarlierWorkStillReads) {
  expect_all_good({run_in_child({{"FAKE_CUDA_SEED", "2"}, {"FAKE_CUDA_MAX_DELAY_US", "3000"}}, [] {
    cudaStream_t stream = nullptr;
    EXPECT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
    ncclComm_t comm = alone();
    for (int i = 0; i < 20; ++i) {
      const DeviceArray<float> send(64, 2.0f);
      const DeviceArray<float> recv(64, 1.0f);
      const DeviceArray<float> copy(64, 0.0f);
      EXPECT_EQ(cudaMemcpyAsync(copy.data(), recv.data(), 256, cudaMemcpyDeviceToDevice, stream),
                cudaSuccess);
      EXPECT_EQ(ncclAllGather(send.data(), recv.data(), 64, ncclFloat32, comm, stream),
                ncclSuccess);
      EXPECT_EQ(copy.values(stream), std::vector<float>(64, 1.0f));
      EXPECT_EQ(recv.values(stream), std::vector<float>(64, 2.0f));
    }
    EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
  })});
}

TEST(NcclMemory, IsDeviceMemory) {
  expect_breach(1, "rank 0 of 1 (comm test): RULE buffer", [](Rank& rank, ncclComm_t comm) {
    void* memory = nullptr;
    EXPECT_EQ(ncclMemAlloc(&memory, 64), ncclSuccess);
    EXPECT_EQ(ncclBcast(memory, 64, ncclInt8, 0, comm, rank.stream), ncclSuccess);
    EXPECT_EQ(cudaStreamSynchronize(rank.stream), cudaSuccess);
    EXPECT_EQ(ncclMemFree(memory), ncclSuccess);
    EXPECT_EQ(ncclBcast(memory, 64, ncclInt8, 0, comm, rank.stream), ncclInvalidUsage);
  });
}

}  // namespace
}  // namespace molora::testing
