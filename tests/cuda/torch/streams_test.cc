// Streams of the fake device: who does not wait for another stream's work sees NaN, and memory that
// a stream still uses is not given away.
//
// The program runs with random delays on the streams (its entry in CMakeLists.txt).
#include <condition_variable>
#include <cstdlib>
#include <mutex>

#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <gtest/gtest.h>

#include "fake_gpu.h"

namespace molora::testing {
namespace {

// Holds a stream at its latest piece of work until it is opened.
class Gate {
 public:
  explicit Gate(void* stream) {
    fake_symbol<uint64_t(void*, void (*)(void*), void*)>("fake_cuda_enqueue")(stream, &wait, this);
  }
  ~Gate() { open(); }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  // Returns when the stream has gone through.
  void open() {
    std::unique_lock lock(mutex_);
    is_open_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return is_passed_; });
  }

 private:
  static void wait(void* gate) {
    auto& self = *static_cast<Gate*>(gate);
    std::unique_lock lock(self.mutex_);
    self.changed_.wait(lock, [&] { return self.is_open_; });
    self.is_passed_ = true;
    self.changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_open_ = false;
  bool is_passed_ = false;
};

c10::Stream side_stream() {
  return c10::impl::VirtualGuardImpl(at::kCUDA).getStreamFromGlobalPool(kGpu);
}

c10::Stream main_stream() { return c10::impl::VirtualGuardImpl(at::kCUDA).getStream(kGpu); }

Tensor doubled_on(c10::Stream stream, const Tensor& values) {
  const c10::StreamGuard on(stream);
  return values * 2;
}

TEST(FakeTorchStreams, WhoDoesNotWaitReadsNaN) {
  const Tensor host = uniform({64}, 1, at::kCPU).pin_memory();
  Gate gate(compute_stream(kGpu));
  const Tensor values = host.to(kGpu, /*non_blocking=*/true);
  const c10::Stream side = side_stream();
  const Tensor doubled = doubled_on(side, values);
  gate.open();
  finish_work(kGpu);
  const c10::StreamGuard on(side);
  EXPECT_TRUE(doubled.isnan().all().item<bool>());
}

TEST(FakeTorchStreams, WhoWaitsForAnEventReadsTheValues) {
  const Tensor host = uniform({64}, 1, at::kCPU).pin_memory();
  const Tensor values = host.to(kGpu, /*non_blocking=*/true);
  c10::Event copied(at::kCUDA);
  copied.record(main_stream());
  const c10::Stream side = side_stream();
  copied.block(side);
  const c10::StreamGuard on(side);
  EXPECT_TRUE(same_bits(values * 2, host * 2));
}

TEST(FakeTorchStreams, AnEventIsDoneWhenItsStreamIsThere) {
  Gate gate(compute_stream(kGpu));
  c10::Event event(at::kCUDA);
  EXPECT_TRUE(event.query());
  event.record(main_stream());
  EXPECT_FALSE(event.query());
  gate.open();
  finish_work(kGpu);
  EXPECT_TRUE(event.query());
}

// With random delays, what an operator computed is seen by another stream only sometimes.
TEST(FakeTorchStreams, ResultsOfOperatorsAreLate) {
  const Tensor values = uniform({64}, 1, kGpu);
  const c10::Stream side = side_stream();
  int too_early = 0;
  for (int i = 0; i < 100; ++i) {
    const Tensor sum = values + 1;
    const Tensor doubled = doubled_on(side, sum);
    finish_work(kGpu);
    const c10::StreamGuard on(side);
    if (doubled.isnan().any().item<bool>()) ++too_early;
  }
  EXPECT_GT(too_early, 0);
}

TEST(FakeTorchStreams, WritesInPlaceAreLateToo) {
  const c10::Stream side = side_stream();
  int too_early = 0;
  for (int i = 0; i < 100; ++i) {
    Tensor values = at::ones({8, 8}, at::TensorOptions(at::kFloat).device(kGpu));
    finish_work(kGpu);
    values.slice(1, 2, 5).add_(1);
    const Tensor doubled = doubled_on(side, values);
    finish_work(kGpu);
    const c10::StreamGuard on(side);
    if (doubled.isnan().any().item<bool>()) ++too_early;
    EXPECT_FALSE(doubled.slice(1, 5, 8).isnan().any().item<bool>()) << "was not written to";
  }
  EXPECT_GT(too_early, 0);
}

TEST(FakeTorchStreams, ACopyToTheHostIsLate) {
  const Tensor values = uniform({64}, 1, kGpu);
  Tensor host = at::zeros({64}, at::TensorOptions(at::kFloat).pinned_memory(true));
  Gate gate(compute_stream(kGpu));
  host.copy_(values, /*non_blocking=*/true);
  EXPECT_TRUE(same_bits(host, at::zeros({64})));
  gate.open();
  finish_work(kGpu);
  EXPECT_TRUE(same_bits(host, uniform({64}, 1, at::kCPU)));
}

// A copy into memory that is free already would be named and fail the device for good.
TEST(FakeTorchStreams, MemoryOfAStreamIsFreedInItsOrder) {
  const Tensor host = uniform({64}, 1, at::kCPU).pin_memory();
  Gate gate(compute_stream(kGpu));
  Tensor values = host.to(kGpu, /*non_blocking=*/true);
  values.reset();  // given up while its copy is still queued
  gate.open();
  EXPECT_NO_THROW(finish_work(kGpu));
  EXPECT_TRUE(same_bits(host.to(kGpu), host));
}

// Enqueues a copy of `from` to page-locked memory on a stream, not known to LibTorch.
void copy_unseen(void* stream, const Tensor& from, const Tensor& to) {
  using Copy = int(void*, const void*, size_t, int, void*);
  constexpr int kDeviceToHost = 2;
  ASSERT_EQ(fake_symbol<Copy>("cudaMemcpyAsync")(to.data_ptr(), from.const_data_ptr(), to.nbytes(),
                                                 kDeviceToHost, stream),
            0);
}

Tensor read_on_side_after_free(c10::Stream side, bool is_recorded) {
  const c10::impl::VirtualGuardImpl guard(at::kCUDA);
  Tensor values = uniform({64}, 1, kGpu);
  Tensor host = at::zeros({64}, at::TensorOptions(at::kFloat).pinned_memory(true));
  finish_work(kGpu);
  Gate gate(guard.getStreamNativeHandle(side));
  copy_unseen(guard.getStreamNativeHandle(side), values, host);
  if (is_recorded) values.record_stream(side);
  values.reset();
  finish_work(kGpu);  // the memory goes back here unless `side` is known to use it
  gate.open();
  guard.synchronizeStream(side);
  return host;
}

TEST(FakeTorchStreams, MemoryThatAnotherStreamUsesMustBeRecorded) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        try {
          read_on_side_after_free(side_stream(), false);
        } catch (const c10::Error&) {
          std::_Exit(7);
        }
      },
      ::testing::ExitedWithCode(7), "of the freed 256 bytes of device memory of device 0");
}

TEST(FakeTorchStreams, RecordedMemoryStays) {
  EXPECT_TRUE(same_bits(read_on_side_after_free(side_stream(), true), uniform({64}, 1, at::kCPU)));
}

TEST(FakeTorchStreams, CurrentStreamIsOfTheThreadAndDevice) {
  const c10::impl::VirtualGuardImpl guard(at::kCUDA);
  const c10::StreamGuard on(side_stream());
  EXPECT_EQ(guard.getStream(kGpu), on.current_stream());
  EXPECT_EQ(guard.getStream(at::Device(at::kCUDA, 1)).id(), 0);
  EXPECT_NE(compute_stream(kGpu), nullptr);
}

}  // namespace
}  // namespace molora::testing
