// Memory of the fake device: none is lost, and a full device says so in LibTorch's words.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fake_gpu.h"

namespace molora::testing {
namespace {

TEST(FakeTorchMemory, AllGoesBack) {
  finish_work(kGpu);
  const size_t before = device_bytes();
  {
    Tensor x = uniform({64, 64}, 1, kGpu).requires_grad_();
    const Tensor y = at::linear(x, x).softmax(-1);
    EXPECT_GE(device_bytes(), before + 2 * x.nbytes());
    y.square().sum().backward();
    x.detach().resize_({128, 128});
  }
  finish_work(kGpu);
  EXPECT_EQ(device_bytes(), before);
}

TEST(FakeTorchMemory, ATensorHasItsOwnBytesAndNoMore) {
  using Check = int(const void*, size_t, int, char*, size_t);
  const auto check = fake_symbol<Check>("fake_cuda_check_device_memory");
  const Tensor values = uniform({10}, 1, kGpu);
  char why[200] = "";
  EXPECT_EQ(check(values.const_data_ptr(), values.nbytes(), 0, why, sizeof why), 0) << why;
  EXPECT_EQ(check(values.const_data_ptr(), values.nbytes() + 1, 0, why, sizeof why), 1);
  EXPECT_EQ(check(values.const_data_ptr(), values.nbytes(), 1, why, sizeof why), 1);
}

TEST(FakeTorchMemory, UseAfterFreeIsNamed) {
  using Check = int(const void*, size_t, int, char*, size_t);
  Tensor values = uniform({10}, 1, kGpu);
  const void* data = values.const_data_ptr();
  values.reset();
  finish_work(kGpu);
  char why[200] = "";
  EXPECT_EQ(fake_symbol<Check>("fake_cuda_check_device_memory")(data, 40, 0, why, sizeof why), 1);
  EXPECT_THAT(why, ::testing::HasSubstr("freed"));
}

int64_t device_capacity() {
  size_t free = 0;
  size_t total = 0;
  EXPECT_EQ(fake_symbol<int(size_t*, size_t*)>("cudaMemGetInfo")(&free, &total), 0);
  return static_cast<int64_t>(total);
}

TEST(FakeTorchMemory, AFullDeviceIsToldAsLibTorchTellsIt) {
  try {
    (void)at::empty({2 * device_capacity()}, at::TensorOptions(at::kByte).device(kGpu));
    FAIL() << "twice of what there is was given";
  } catch (const c10::OutOfMemoryError& error) {
    EXPECT_THAT(
        error.what_without_backtrace(),
        ::testing::MatchesRegex("CUDA out of memory. Tried to allocate [0-9.]+ .iB. GPU 0 has a "
                                "total capacity of [0-9.]+ .iB of which [0-9.]+ .iB is free."));
  }
}

// What was given up a moment ago counts as free, although its stream has not come there yet.
TEST(FakeTorchMemory, GivenUpMemoryIsUsedBeforeItIsRefused) {
  const auto more_than_half = [] {
    return at::empty({device_capacity() * 9 / 16},
                     at::TensorOptions(at::kByte).device(at::Device(at::kCUDA, 3)));
  };
  more_than_half();
  EXPECT_NO_THROW(more_than_half());
}

}  // namespace
}  // namespace molora::testing
