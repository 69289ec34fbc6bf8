// Tensors of the fake device: views, writes in place, copies, page-locked memory.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fake_gpu.h"

namespace molora::testing {
namespace {

at::TensorOptions on(at::Device device, at::ScalarType type) {
  return at::TensorOptions(type).device(device);
}

TEST(FakeTorchViews, ShareTheMemory) {
  Tensor base = at::zeros({4, 6}, on(kGpu, at::kFloat));
  Tensor part = base.slice(1, 1, 5, 2).t();
  EXPECT_EQ(part.storage().data(), base.storage().data());
  part.add_(3);
  part[1].mul_(2);
  Tensor expected = at::zeros({4, 6}, at::kFloat);
  expected.slice(1, 1, 5, 2).t().add_(3);
  expected.slice(1, 1, 5, 2).t()[1].mul_(2);
  EXPECT_TRUE(same_bits(base, expected));
}

TEST(FakeTorchViews, AreNoCopiesThroughAutograd) {
  Tensor base = uniform({4, 6}, 1, kGpu).requires_grad_();
  const Tensor view = base.view({2, 12}).unbind(0)[1];
  EXPECT_TRUE(view.is_view());
  EXPECT_EQ(view.storage().data(), base.storage().data());
}

TEST(FakeTorchViews, SetSharesAStorage) {
  const Tensor base = uniform({4, 6}, 1, kGpu);
  Tensor other = at::empty({0}, base.options());
  other.set_(base.storage(), 6, {2, 3}, {6, 1});
  EXPECT_TRUE(same_bits(other, base.cpu().slice(0, 1, 3).slice(1, 0, 3)));
}

TEST(FakeTorchWrites, InPlaceReturnsTheTensorItself) {
  Tensor values = uniform({3}, 1, kGpu);
  const Tensor& result = values.mul_(2);
  EXPECT_TRUE(result.is_same(values));
  EXPECT_TRUE(same_bits(values, uniform({3}, 1, at::kCPU) * 2));
}

TEST(FakeTorchWrites, OutIsResized) {
  Tensor out = at::empty({0}, on(kGpu, at::kFloat));
  const Tensor a = uniform({3, 4}, 1, kGpu);
  at::mm_out(out, a, a.t());
  EXPECT_THAT(out.sizes(), ::testing::ElementsAre(3, 3));
  const Tensor b = uniform({3, 4}, 1, at::kCPU);
  EXPECT_TRUE(same_bits(out, b.mm(b.t())));
}

TEST(FakeTorchWrites, ResizeKeepsTheFirstValues) {
  Tensor values = uniform({3}, 1, kGpu);
  values.resize_({5});
  EXPECT_EQ(values.numel(), 5);
  EXPECT_TRUE(same_bits(values.slice(0, 0, 3), uniform({3}, 1, at::kCPU)));
}

TEST(FakeTorchWrites, MemoryIsNaNUntilWritten) {
  EXPECT_TRUE(at::empty({7}, on(kGpu, at::kFloat)).isnan().all().item<bool>());
}

TEST(FakeTorchCopies, GoThroughEveryLayoutAndType) {
  const Tensor host = uniform({4, 6}, 1, at::kCPU);
  Tensor device = at::empty({6, 4}, on(kGpu, at::kDouble));
  device.t().copy_(host);
  EXPECT_TRUE(same_bits(device, host.t().to(at::kDouble)));
  Tensor back = at::empty({6, 4}, at::kBFloat16);
  back.t().copy_(device.t());
  EXPECT_TRUE(same_bits(back, host.t().to(at::kBFloat16)));
}

TEST(FakeTorchCopies, BroadcastTheSource) {
  Tensor device = at::empty({3, 4}, on(kGpu, at::kFloat));
  device.copy_(uniform({4}, 1, at::kCPU));
  EXPECT_TRUE(same_bits(device, uniform({4}, 1, at::kCPU).expand({3, 4})));
}

TEST(FakeTorchCopies, GoFromGpuToGpu) {
  const Tensor other = uniform({4}, 1, kGpu).to(at::Device(at::kCUDA, 1));
  EXPECT_EQ(other.device().index(), 1);
  EXPECT_TRUE(same_bits(other * 2, uniform({4}, 1, at::kCPU) * 2));
}

TEST(FakeTorchPinned, MemoryIsKnownAsPinned) {
  const Tensor pinned = uniform({4}, 1, at::kCPU).pin_memory();
  EXPECT_TRUE(pinned.is_pinned());
  EXPECT_TRUE(at::empty({4}, at::TensorOptions(at::kFloat).pinned_memory(true)).is_pinned());
  EXPECT_FALSE(at::empty({4}).is_pinned());
}

}  // namespace
}  // namespace molora::testing
