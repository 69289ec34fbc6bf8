// The memory of the fake run time: who owns what, what is freed, what is too short.
#include <cmath>
#include <cstring>

#include "child.h"

namespace molora::testing {
namespace {

using ::testing::HasSubstr;

TEST(FakeCudaMemory, IsNanWhenItIsNew) {
  expect_quiet([] {
    void* memory = nullptr;
    expect_ok(cudaMalloc(&memory, 64));
    EXPECT_TRUE(std::isnan(first_of(static_cast<float*>(memory))));
    expect_ok(cudaFree(memory));
  });
}

TEST(FakeCudaMemory, IsKnownByItsAddress) {
  expect_quiet([] {
    void *device = nullptr, *pinned = nullptr;
    int plain = 0;
    expect_ok(cudaSetDevice(2));
    expect_ok(cudaMalloc(&device, 64));
    expect_ok(cudaHostAlloc(&pinned, 64, cudaHostAllocDefault));
    cudaPointerAttributes attributes{};
    expect_ok(cudaPointerGetAttributes(&attributes, static_cast<char*>(device) + 63));
    EXPECT_EQ(attributes.type, cudaMemoryTypeDevice);
    EXPECT_EQ(attributes.device, 2);
    expect_ok(cudaPointerGetAttributes(&attributes, pinned));
    EXPECT_EQ(attributes.type, cudaMemoryTypeHost);
    expect_ok(cudaPointerGetAttributes(&attributes, &plain));
    EXPECT_EQ(attributes.type, cudaMemoryTypeUnregistered);
    expect_ok(cudaHostRegister(&plain, sizeof plain, cudaHostRegisterDefault));
    expect_ok(cudaPointerGetAttributes(&attributes, &plain));
    EXPECT_EQ(attributes.type, cudaMemoryTypeHost);
    EXPECT_EQ(cudaHostRegister(&plain, sizeof plain, 0), cudaErrorHostMemoryAlreadyRegistered);
    expect_ok(cudaHostUnregister(&plain));
    EXPECT_EQ(cudaHostUnregister(&plain), cudaErrorHostMemoryNotRegistered);
    expect_ok(cudaFree(device));
    expect_ok(cudaPointerGetAttributes(&attributes, device));
    EXPECT_EQ(attributes.type, cudaMemoryTypeUnregistered);
    expect_ok(cudaFreeHost(pinned));
  });
}

TEST(FakeCudaMemory, IsFreedOnce) {
  EXPECT_THAT(said_by([] {
                void* memory = nullptr;
                expect_ok(cudaMalloc(&memory, 64));
                expect_ok(cudaFree(memory));
                EXPECT_EQ(cudaFree(memory), cudaErrorInvalidValue);
              }),
              HasSubstr("is byte 0 of the freed 64 bytes of device memory of device 0"));
}

TEST(FakeCudaMemory, IsFreedByItsBegin) {
  EXPECT_THAT(said_by([] {
                void* memory = nullptr;
                expect_ok(cudaMalloc(&memory, 64));
                EXPECT_EQ(cudaFree(static_cast<char*>(memory) + 8), cudaErrorInvalidValue);
              }),
              HasSubstr("fake cuda: RULE free: cudaFree: 0x"));
}

TEST(FakeCudaMemory, IsFreedByItsOwnCall) {
  EXPECT_THAT(said_by([] {
                void* memory = nullptr;
                expect_ok(cudaMallocHost(&memory, 64));
                EXPECT_EQ(cudaFree(memory), cudaErrorInvalidValue);
              }),
              HasSubstr("RULE free: cudaFree: "));
}

TEST(FakeCudaMemory, ThatIsNotOursIsNotFreed) {
  EXPECT_THAT(said_by([] {
                int plain = 0;
                EXPECT_EQ(cudaFree(&plain), cudaErrorInvalidValue);
              }),
              HasSubstr("is host memory that CUDA does not know"));
}

TEST(FakeCudaMemory, HasAGuardBehindItsEnd) {
  EXPECT_THAT(said_by([] {
                void* memory = nullptr;
                expect_ok(cudaMalloc(&memory, 60));
                static_cast<char*>(memory)[60] = 0;
                EXPECT_EQ(cudaFree(memory), cudaErrorInvalidValue);
              }),
              HasSubstr("RULE free: cudaFree: something was written behind the end of 60 bytes"));
}

TEST(FakeCudaMemory, HasAGuardBeforeItsBegin) {
  EXPECT_THAT(said_by([] {
                void* memory = nullptr;
                expect_ok(cudaMalloc(&memory, 60));
                static_cast<char*>(memory)[-1] = 0;
                EXPECT_EQ(cudaFree(memory), cudaErrorInvalidValue);
              }),
              HasSubstr("RULE free: cudaFree: something was written before the begin of 60 bytes"));
}

TEST(FakeCudaMemory, EndsWhereTheDeviceEnds) {
  expect_quiet(
      [] {
        void* memory = nullptr;
        size_t free_bytes = 0, total_bytes = 0;
        EXPECT_EQ(cudaMalloc(&memory, size_t{3} << 20), cudaErrorMemoryAllocation);
        EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
        EXPECT_EQ(cudaGetLastError(), cudaSuccess);
        expect_ok(cudaMalloc(&memory, size_t{1} << 20));
        expect_ok(cudaMemGetInfo(&free_bytes, &total_bytes));
        EXPECT_EQ(free_bytes, size_t{1} << 20);
        EXPECT_EQ(total_bytes, size_t{2} << 20);
        expect_ok(cudaFree(memory));
        expect_ok(cudaMalloc(&memory, size_t{2} << 20));
      },
      {{"FAKE_CUDA_MEMORY_MB", "2"}});
}

TEST(FakeCudaMemory, IsFreedOnlyWhenTheDeviceIsDone) {
  expect_quiet(
      [] {
        float* const from = device_floats(1024, 3.0f);
        float* const to = device_floats(1024, 1.0f);
        const cudaStream_t stream = new_stream();
        for (int i = 0; i < 10; ++i) {
          expect_ok(cudaMemcpyAsync(to, from, 4096, cudaMemcpyDeviceToDevice, stream));
        }
        expect_ok(cudaFree(from));
        EXPECT_EQ(cudaStreamQuery(stream), cudaSuccess);
        EXPECT_EQ(first_of(to), 3.0f);
      },
      kSlow);
}

TEST(FakeCudaMemory, OfAStreamIsFreedInItsOrder) {
  EXPECT_THAT(
      said_by([] {
        void* memory = nullptr;
        const cudaStream_t stream = new_stream();
        expect_ok(cudaMallocAsync(&memory, 64, stream));
        expect_ok(cudaMemsetAsync(memory, 0, 64, stream));
        Gate gate(stream);
        expect_ok(cudaFreeAsync(memory, stream));
        expect_ok(cudaMemsetAsync(memory, 0, 64, stream));
        gate.open();
        EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorIllegalAddress);
        EXPECT_EQ(cudaMalloc(&memory, 64), cudaErrorIllegalAddress);  // it stays
      }),
      HasSubstr(
          "fake cuda: RULE memory: cudaMemsetAsync, when the stream comes to it: destination"));
}

TEST(FakeCudaCopy, StaysInsideItsMemory) {
  EXPECT_THAT(said_by([] {
                float host[32] = {};
                float* const memory = device_floats(16, 1.0f);
                EXPECT_EQ(cudaMemcpy(memory, host, sizeof host, cudaMemcpyHostToDevice),
                          cudaErrorInvalidValue);
              }),
              HasSubstr("RULE memory: cudaMemcpy: destination (device): 128 bytes are used, but "));
}

TEST(FakeCudaCopy, GoesTheWayThatItSays) {
  EXPECT_THAT(said_by([] {
                float host[16] = {};
                float* const memory = device_floats(16, 1.0f);
                EXPECT_EQ(cudaMemcpy(memory, host, sizeof host, cudaMemcpyDeviceToHost),
                          cudaErrorInvalidValue);
              }),
              HasSubstr("RULE memory: cudaMemcpy: destination (host): "));
}

TEST(FakeCudaCopy, OutOfPageableMemoryTakesItsBytesAtOnce) {
  expect_quiet([] {
    float* const memory = device_floats(16, 1.0f);
    const cudaStream_t stream = new_stream();
    Gate gate(stream);
    std::vector<float> host(16, 5.0f);
    expect_ok(cudaMemcpyAsync(memory, host.data(), 64, cudaMemcpyHostToDevice, stream));
    host.assign(16, 0.0f);
    gate.open();
    expect_ok(cudaStreamSynchronize(stream));
    EXPECT_EQ(first_of(memory), 5.0f);
  });
}

TEST(FakeCudaCopy, IntoPageableMemoryHasEndedWhenItReturns) {
  expect_quiet(
      [] {
        float* const memory = device_floats(16, 5.0f);
        const cudaStream_t stream = new_stream();
        float host[16] = {};
        for (int i = 0; i < 5; ++i) {
          host[15] = 0.0f;
          expect_ok(cudaMemcpyAsync(host, memory, 64, cudaMemcpyDeviceToHost, stream));
          EXPECT_EQ(host[15], 5.0f);
        }
      },
      kSlow);
}

TEST(FakeCudaCopy, OfPinnedMemoryIsDoneLater) {
  expect_quiet([] {
    void* pinned = nullptr;
    expect_ok(cudaMallocHost(&pinned, 64));
    auto* const host = static_cast<volatile float*>(pinned);
    float* const memory = device_floats(16, 5.0f);
    const cudaStream_t stream = new_stream();
    host[0] = 1.0f;
    Gate gate(stream);
    expect_ok(cudaMemcpyAsync(memory, pinned, 64, cudaMemcpyHostToDevice, stream));
    host[0] = 2.0f;  // a fault of the program: it is this value that arrives
    gate.open();
    expect_ok(cudaStreamSynchronize(stream));
    EXPECT_EQ(first_of(memory), 2.0f);
  });
}

TEST(FakeCudaCopy, SpoilsPinnedMemoryUntilItIsThere) {
  expect_quiet(
      [] {
        void* pinned = nullptr;
        expect_ok(cudaMallocHost(&pinned, 64));
        float* const memory = device_floats(16, 5.0f);
        const cudaStream_t stream = new_stream();
        int spoilt = 0;
        for (int i = 0; i < 10; ++i) {
          expect_ok(cudaStreamSynchronize(stream));
          expect_ok(cudaMemcpyAsync(pinned, memory, 64, cudaMemcpyDeviceToHost, stream));
          if (std::isnan(*static_cast<volatile float*>(pinned))) ++spoilt;
        }
        expect_ok(cudaStreamSynchronize(stream));
        EXPECT_EQ(*static_cast<float*>(pinned), 5.0f);
        EXPECT_GT(spoilt, 0);
      },
      kSlow);
}

}  // namespace
}  // namespace molora::testing
