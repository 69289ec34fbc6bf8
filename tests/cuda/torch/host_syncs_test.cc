// Which operators make the host wait for the fake device.
#include <functional>

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <gtest/gtest.h>

#include "fake_gpu.h"

namespace molora::testing {
namespace {

uint64_t syncs_of(const std::function<void()>& run) {
  const uint64_t before = host_syncs();
  run();
  return host_syncs() - before;
}

TEST(FakeTorchHostSyncs, OperatorsOfKnownSizeDoNotWait) {
  Tensor x = uniform({8, 8}, 1, kGpu).requires_grad_();
  const Tensor rows = indices({1, 5}, kGpu);
  EXPECT_EQ(syncs_of([&] {
              Tensor y =
                  at::linear(x, x).softmax(-1).index_select(0, rows).index({rows.remainder(2)});
              y = at::where(y > 0, y, 0.5).masked_fill(y > 1, 0.0).repeat_interleave(2, 0);
              y = at::cat({y, std::get<0>(y.topk(8, 1))}) / at::scalar_tensor(2.0);
              y.sum().backward();
            }),
            0U);
}

TEST(FakeTorchHostSyncs, SizesThatDependOnDataWait) {
  const Tensor x = uniform({8, 8}, 1, kGpu);
  const Tensor mask = x > 0;
  const Tensor counts = indices({1, 2, 0, 1, 1, 1, 1, 1}, kGpu);
  EXPECT_EQ(syncs_of([&] { (void)mask.nonzero(); }), 1U);
  EXPECT_EQ(syncs_of([&] { (void)x.masked_select(mask); }), 1U);
  EXPECT_EQ(syncs_of([&] { (void)x.index({mask}); }), 1U);
  EXPECT_EQ(syncs_of([&] { (void)at::_unique(counts); }), 1U);
  EXPECT_EQ(syncs_of([&] { (void)counts.bincount(); }), 1U);
  EXPECT_EQ(syncs_of([&] { (void)x.repeat_interleave(counts, 0); }), 1U);
  EXPECT_EQ(syncs_of([&] { (void)x.repeat_interleave(counts, 0, 8); }), 0U);
}

TEST(FakeTorchHostSyncs, ReadingANumberWaits) {
  const Tensor x = uniform({8}, 1, kGpu);
  EXPECT_EQ(syncs_of([&] { (void)x[3].item<float>(); }), 1U);
  EXPECT_EQ(syncs_of([&] { (void)at::equal(x, x); }), 1U);
  EXPECT_EQ(syncs_of([&] { (void)x.sum().is_nonzero(); }), 1U);
}

TEST(FakeTorchHostSyncs, BlockingCopiesWait) {
  const Tensor x = uniform({8}, 1, kGpu);
  const Tensor pageable = uniform({8}, 1, at::kCPU);
  const Tensor pinned = pageable.pin_memory();
  EXPECT_EQ(syncs_of([&] { (void)x.cpu(); }), 1U);
  EXPECT_EQ(syncs_of([&] { (void)pageable.to(kGpu); }), 1U);
  EXPECT_EQ(syncs_of([&] { (void)pageable.to(kGpu, /*non_blocking=*/true); }), 1U);
  EXPECT_EQ(syncs_of([&] { (void)pinned.to(kGpu); }), 1U);
  EXPECT_EQ(syncs_of([&] { (void)x.index({indices({1}, at::kCPU)}); }), 1U);
}

TEST(FakeTorchHostSyncs, CopiesThroughPinnedMemoryDoNot) {
  const Tensor x = uniform({8}, 1, kGpu);
  const Tensor pinned = uniform({8}, 1, at::kCPU).pin_memory();
  EXPECT_EQ(syncs_of([&] { (void)pinned.to(kGpu, /*non_blocking=*/true); }), 0U);
  const uint64_t reads = host_reads();
  EXPECT_EQ(syncs_of([&] { (void)to_host(x); }), 0U);
  EXPECT_EQ(host_reads() - reads, 1U);
}

TEST(FakeTorchHostSyncs, SynchronizingWaitsAndAskingDoesNot) {
  const c10::impl::VirtualGuardImpl guard(at::kCUDA);
  c10::Event event(at::kCUDA);
  event.record(guard.getStream(kGpu));
  EXPECT_EQ(syncs_of([&] { (void)event.query(); }), 0U);
  EXPECT_EQ(syncs_of([&] { event.synchronize(); }), 1U);
  EXPECT_EQ(syncs_of([&] { guard.synchronizeStream(guard.getStream(kGpu)); }), 1U);
  EXPECT_EQ(syncs_of([&] { guard.synchronizeDevice(0); }), 1U);
}

TEST(FakeTorchHostSyncs, GroupedProductsWaitUnlessOfBfloat16) {
  const auto product = [](at::ScalarType type) {
    const Tensor ends = at::tensor({8, 16}, at::kInt).pin_memory().to(kGpu, true);
    const Tensor a = uniform({16, 16}, 1, at::kCPU, type).pin_memory().to(kGpu, true);
    const Tensor b = uniform({2, 16, 8}, 2, at::kCPU, type).pin_memory().to(kGpu, true);
    (void)at::_grouped_mm(a, b, ends);
  };
  EXPECT_EQ(syncs_of([&] { product(at::kBFloat16); }), 0U);
  EXPECT_EQ(syncs_of([&] { product(at::kFloat); }), 1U);
}

TEST(FakeTorchHostSyncs, AreRefusedOnRequest) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  setenv("FAKE_TORCH_SYNC", "error", 1);
  EXPECT_EXIT(
      {
        const Tensor x = at::ones({3}, at::TensorOptions(at::kFloat).device(kGpu));
        try {
          (void)x.sum().item<float>();
        } catch (const c10::Error& error) {
          std::fprintf(stderr, "%s", error.what_without_backtrace());
          std::exit(7);
        }
      },
      ::testing::ExitedWithCode(7), "item\\(\\) makes the host wait for the device");
  unsetenv("FAKE_TORCH_SYNC");
}

}  // namespace
}  // namespace molora::testing
