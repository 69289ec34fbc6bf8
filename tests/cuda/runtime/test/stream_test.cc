// Streams and events of the fake run time.
#include <atomic>
#include <chrono>
#include <thread>

#include "child.h"
#include "fake_cuda.h"

namespace molora::testing {
namespace {

using ::testing::HasSubstr;

cudaEvent_t new_event(unsigned flags = cudaEventDisableTiming) {
  cudaEvent_t event = nullptr;
  expect_ok(cudaEventCreateWithFlags(&event, flags));
  return event;
}

TEST(FakeCudaStreams, WorkInOrder) {
  expect_quiet(
      [] {
        const cudaStream_t stream = new_stream();
        static std::vector<int> seen;
        static std::atomic<int> next{0};
        for (int i = 0; i < 50; ++i) {
          expect_ok(cudaLaunchHostFunc(
              stream, [](void*) { seen.push_back(next++); }, nullptr));
        }
        expect_ok(cudaStreamSynchronize(stream));
        ASSERT_EQ(seen.size(), 50u);
        EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
      },
      {{"FAKE_CUDA_SEED", "2"}});
}

TEST(FakeCudaStreams, AreNotReadyBeforeTheirWorkIsDone) {
  expect_quiet([] {
    const cudaStream_t stream = new_stream();
    EXPECT_EQ(cudaStreamQuery(stream), cudaSuccess);
    Gate gate(stream);
    EXPECT_EQ(cudaStreamQuery(stream), cudaErrorNotReady);
    gate.open();
    expect_ok(cudaStreamSynchronize(stream));
    EXPECT_EQ(cudaStreamQuery(stream), cudaSuccess);
  });
}

TEST(FakeCudaStreams, DoTheirWorkAlthoughDestroyed) {
  expect_quiet([] {
    const cudaStream_t stream = new_stream();
    static std::atomic<bool> is_done{false};
    Gate gate(stream);
    expect_ok(cudaLaunchHostFunc(
        stream, [](void*) { is_done = true; }, nullptr));
    expect_ok(cudaStreamDestroy(stream));
    gate.open();
    expect_ok(cudaDeviceSynchronize());
    EXPECT_TRUE(is_done);
  });
}

TEST(FakeCudaStreams, AreDeadAfterDestroy) {
  EXPECT_THAT(said_by([] {
                const cudaStream_t stream = new_stream();
                expect_ok(cudaStreamDestroy(stream));
                EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorInvalidResourceHandle);
              }),
              HasSubstr("fake cuda: RULE dead-stream: cudaStreamSynchronize on a stream that was "
                        "destroyed or never made"));
}

TEST(FakeCudaStreams, WithoutTheFlagWaitForTheDefaultStream) {
  expect_quiet([] {
    cudaStream_t blocking = nullptr;
    expect_ok(cudaStreamCreate(&blocking));
    const cudaStream_t free = new_stream();
    Gate gate(nullptr);
    static std::atomic<int> done{0};
    const auto count = [](void*) { ++done; };
    expect_ok(cudaLaunchHostFunc(blocking, count, nullptr));
    expect_ok(cudaLaunchHostFunc(free, count, nullptr));
    expect_ok(cudaStreamSynchronize(free));
    EXPECT_EQ(cudaStreamQuery(blocking), cudaErrorNotReady);
    EXPECT_EQ(done, 1);
    gate.open();
    expect_ok(cudaStreamSynchronize(blocking));
    EXPECT_EQ(done, 2);
  });
}

TEST(FakeCudaStreams, OfThreadsAreRefusedByName) {
  const EndOfChild end = run_in_child({}, [] { cudaStreamSynchronize(cudaStreamPerThread); });
  EXPECT_EQ(end.signal, SIGABRT);
  EXPECT_THAT(end.output, HasSubstr("cudaStreamPerThread is not part of the fake run time"));
}

TEST(FakeCudaStreams, TakeNoCallsFromTheirFunctions) {
  EXPECT_THAT(
      said_by([] {
        const cudaStream_t stream = new_stream();
        static std::atomic<int> error{0};
        expect_ok(cudaLaunchHostFunc(
            stream, [](void*) { error = cudaSetDevice(0); }, nullptr));
        expect_ok(cudaStreamSynchronize(stream));
        EXPECT_EQ(error, cudaErrorNotPermitted);
      }),
      HasSubstr("RULE host-function: cudaSetDevice is called by a function that runs on a stream"));
}

TEST(FakeCudaEvents, CountAsDoneBeforeTheyAreRecorded) {
  expect_quiet([] {
    const cudaEvent_t event = new_event();
    EXPECT_EQ(cudaEventQuery(event), cudaSuccess);
    expect_ok(cudaEventSynchronize(event));
    expect_ok(cudaStreamWaitEvent(new_stream(), event, 0));
  });
}

TEST(FakeCudaEvents, AreSetWhenTheStreamComesToThem) {
  expect_quiet([] {
    const cudaStream_t stream = new_stream();
    const cudaEvent_t event = new_event();
    Gate gate(stream);
    expect_ok(cudaEventRecord(event, stream));
    EXPECT_EQ(cudaEventQuery(event), cudaErrorNotReady);
    EXPECT_EQ(cudaGetLastError(), cudaErrorNotReady);
    gate.open();
    expect_ok(cudaEventSynchronize(event));
    EXPECT_EQ(cudaEventQuery(event), cudaSuccess);
  });
}

TEST(FakeCudaEvents, HoldOtherStreamsAtTheirLatestRecording) {
  expect_quiet([] {
    const cudaStream_t first = new_stream();
    const cudaStream_t second = new_stream();
    const cudaEvent_t event = new_event();
    Gate gate(first);
    expect_ok(cudaEventRecord(event, first));
    expect_ok(cudaStreamWaitEvent(second, event, 0));
    expect_ok(cudaEventRecord(event, new_stream()));  // the wait is for the recording before
    expect_ok(cudaEventSynchronize(event));
    EXPECT_EQ(cudaStreamQuery(second), cudaErrorNotReady);
    expect_ok(cudaEventDestroy(event));
    gate.open();
    expect_ok(cudaStreamSynchronize(second));
  });
}

TEST(FakeCudaEvents, MeasureTime) {
  expect_quiet([] {
    const cudaStream_t stream = new_stream();
    const cudaEvent_t first = new_event(cudaEventDefault);
    const cudaEvent_t second = new_event(cudaEventDefault);
    float ms = 0;
    EXPECT_EQ(cudaEventElapsedTime(&ms, first, second), cudaErrorInvalidResourceHandle);
    expect_ok(cudaEventRecord(first, stream));
    expect_ok(cudaLaunchHostFunc(
        stream, [](void*) { std::this_thread::sleep_for(std::chrono::milliseconds(5)); }, nullptr));
    expect_ok(cudaEventRecord(second, stream));
    EXPECT_EQ(cudaEventElapsedTime(&ms, first, second), cudaErrorNotReady);
    expect_ok(cudaEventSynchronize(second));
    expect_ok(cudaEventElapsedTime(&ms, first, second));
    EXPECT_GE(ms, 5.0f);
    EXPECT_EQ(cudaEventElapsedTime(&ms, first, new_event()), cudaErrorInvalidResourceHandle);
  });
}

TEST(FakeCudaEvents, BelongToADevice) {
  EXPECT_THAT(
      said_by([] {
        const cudaEvent_t event = new_event();
        expect_ok(cudaSetDevice(1));
        EXPECT_EQ(cudaEventRecord(event, new_stream()), cudaErrorInvalidResourceHandle);
      }),
      HasSubstr("RULE event-device: cudaEventRecord of an event of device 0 on a stream of device "
                "1"));
}

TEST(FakeCudaEvents, AreDeadAfterDestroy) {
  EXPECT_THAT(
      said_by([] {
        const cudaEvent_t event = new_event();
        expect_ok(cudaEventDestroy(event));
        EXPECT_EQ(cudaEventQuery(event), cudaErrorInvalidResourceHandle);
        EXPECT_EQ(cudaStreamWaitEvent(new_stream(), event, 0), cudaErrorInvalidResourceHandle);
      }),
      HasSubstr("RULE dead-event: cudaEventQuery on an event that was destroyed or never made"));
}

TEST(FakeCudaOrder, IsKnownThroughEvents) {
  expect_quiet([] {
    const cudaStream_t first = new_stream();
    const cudaStream_t second = new_stream();
    const cudaStream_t third = new_stream();
    const cudaEvent_t event = new_event();
    Gate gate(first);
    const uint64_t position = fake_cuda_enqueue(
        first, [](void*) {}, nullptr);
    EXPECT_EQ(fake_cuda_is_ordered(second, first, position), 0);
    expect_ok(cudaEventRecord(event, first));
    expect_ok(cudaStreamWaitEvent(second, event, 0));
    EXPECT_EQ(fake_cuda_is_ordered(second, first, position), 1);
    EXPECT_EQ(fake_cuda_is_ordered(third, first, position), 0);
    expect_ok(cudaEventRecord(event, second));
    expect_ok(cudaStreamWaitEvent(third, event, 0));
    EXPECT_EQ(fake_cuda_is_ordered(third, first, position), 1);
    EXPECT_EQ(fake_cuda_is_ordered(second, first, position + 2), 0);
    EXPECT_EQ(fake_cuda_device_is_idle(0), 0);
    gate.open();
    expect_ok(cudaDeviceSynchronize());
    EXPECT_EQ(fake_cuda_is_ordered(second, first, position + 1), 1);
    EXPECT_EQ(fake_cuda_device_is_idle(0), 1);
  });
}

}  // namespace
}  // namespace molora::testing
