// What the fake device refuses, and in which words.
#include <cstdlib>
#include <functional>
#include <string>

#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fake_gpu.h"

namespace molora::testing {
namespace {

at::TensorOptions on(at::Device device, at::ScalarType type) {
  return at::TensorOptions(type).device(device);
}

std::string refusal(const std::function<void()>& run) {
  try {
    run();
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  }
  return "";
}

TEST(FakeTorchRefuses, TensorsOfTwoDevices) {
  const Tensor device = uniform({3, 3}, 1, kGpu);
  const Tensor host = uniform({3, 3}, 1, at::kCPU);
  const auto is_refused = ::testing::HasSubstr(
      "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and "
      "cpu!");
  EXPECT_THAT(refusal([&] { (void)(device + host); }), is_refused);
  EXPECT_THAT(refusal([&] { (void)(host + device); }), is_refused);
  EXPECT_THAT(refusal([&] { (void)device.mm(host); }), is_refused);
  EXPECT_THAT(refusal([&] { (void)at::cat({device, host}); }), is_refused);
  EXPECT_THAT(refusal([&] { (void)device.index_select(0, indices({1}, at::kCPU)); }), is_refused);
  EXPECT_THAT(refusal([&] {
                (void)device.gather(0, indices({1, 1}, at::kCPU).view({1, 2}));
              }),
              is_refused);
  EXPECT_THAT(refusal([&] {
                (void)device.mm(uniform({3, 3}, 1, at::Device(at::kCUDA, 1)));
              }),
              ::testing::HasSubstr("cuda:0 and cuda:1!"));
}

TEST(FakeTorchRefuses, OperatorsWithoutAKernel) {
  EXPECT_THAT(refusal([&] {
                (void)at::_cudnn_rnn_flatten_weight({uniform({3}, 1, kGpu)}, 1, 1, 0, 1, 0, 1,
                                                    false, false);
              }),
              ::testing::HasSubstr("_cudnn_rnn_flatten_weight"));
}

TEST(FakeTorchRefuses, RandomGenerators) {
  EXPECT_THAT(refusal([] { (void)at::rand({3}, on(kGpu, at::kFloat)); }),
              ::testing::HasSubstr("takes a random generator, and the fake device has none"));
}

TEST(FakeTorchRefuses, PinnedMemoryOnTheDevice) {
  EXPECT_THAT(refusal([] { (void)at::empty({3}, on(kGpu, at::kFloat).pinned_memory(true)); }),
              ::testing::HasSubstr("Only dense CPU tensors can be pinned"));
}

TEST(FakeTorchRefuses, WhatItDoesNotHave) {
  using ::testing::HasSubstr;
  Tensor x = uniform({4, 6}, 1, kGpu);
  EXPECT_THAT(refusal([] { (void)at::empty({3}, on(kGpu, at::kFloat).layout(at::kSparse)); }),
              ::testing::Not(""));
  EXPECT_THAT(refusal([&] {
                x.resize_({1, 2, 3, 4}, at::MemoryFormat::ChannelsLast);
              }),
              HasSubstr("resize_ keeps the contiguous format only"));
}

TEST(FakeTorchRefuses, GradientsOfAMask) {
  const Tensor q = uniform({1, 2, 7, 8}, 1, kGpu).requires_grad_();
  const Tensor out = std::get<0>(at::_scaled_dot_product_efficient_attention(
      q, q, q, uniform({1, 2, 7, 7}, 2, kGpu).requires_grad_(), /*compute_log_sumexp=*/true));
  EXPECT_THAT(refusal([&] { out.sum().backward(); }),
              ::testing::HasSubstr("a mask of attention has no gradient"));
}

TEST(FakeTorchRefuses, EventsOfAnotherDevice) {
  c10::Event event(at::kCUDA);
  const c10::impl::VirtualGuardImpl guard(at::kCUDA);
  event.record(guard.getStream(kGpu));
  EXPECT_NE(refusal([&] { event.record(guard.getStream(at::Device(at::kCUDA, 1))); }), "");
}

TEST(FakeTorchRefuses, TheDeviceOfAHostPointer) {
  int on_stack = 0;
  EXPECT_THAT(refusal([&] { (void)at::detail::getCUDAHooks().getDeviceFromPtr(&on_stack); }),
              ::testing::HasSubstr("The specified pointer is not on a device"));
}

TEST(FakeTorchRefuses, NotTwoDevicesOnRequest) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  setenv("FAKE_TORCH_MIXED", "warn", 1);
  EXPECT_EXIT(
      {
        const Tensor sum = uniform({3}, 1, kGpu) + uniform({3}, 1, at::kCPU);
        std::exit(same_bits(sum, uniform({3}, 1, at::kCPU) * 2) ? 7 : 8);
      },
      ::testing::ExitedWithCode(7), "aten::add has tensors of the CPU and of the device");
  unsetenv("FAKE_TORCH_MIXED");
}

}  // namespace
}  // namespace molora::testing
