#include "tensor/host_memory.h"

#include <thread>
#include <utility>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/expect_throw.h"

namespace molora {
namespace {

using at::Tensor;

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kHasSanitizer = true;
#else
constexpr bool kHasSanitizer = false;
#endif

class HostMemoryOfTensors : public ::testing::Test {
 protected:
  void SetUp() override {
    if (kHasSanitizer) GTEST_SKIP() << "left to the sanitizer";
    use_caching_host_allocator();
    reset_host_memory_peak();
    before_ = host_memory();
  }
  int64_t live() const { return host_memory().live_bytes - before_.live_bytes; }
  int64_t peak() const { return host_memory().peak_bytes - before_.peak_bytes; }

  HostMemory before_;
};

TEST_F(HostMemoryOfTensors, CountsTheirBytesExactly) {
  Tensor a = at::zeros({1000}, at::kFloat);
  EXPECT_EQ(live(), 4000);
  Tensor b = at::zeros({1000}, at::kFloat);
  EXPECT_EQ(live(), 8000);
  a.reset();
  b.reset();
  EXPECT_EQ(live(), 0);
  EXPECT_EQ(peak(), 8000);
  EXPECT_GE(host_memory().held_bytes, 8000);
}

TEST_F(HostMemoryOfTensors, NextTensorOfTheSizeHasTheSameMemory) {
  Tensor a = at::empty({3 << 20}, at::kByte);
  const void* const data = a.const_data_ptr();
  a.reset();
  EXPECT_EQ(at::empty({3 << 20}, at::kByte).const_data_ptr(), data);
}

TEST_F(HostMemoryOfTensors, AreAlignedForTheWidestLoads) {
  for (int64_t bytes = 1; bytes < 1 << 22; bytes = bytes * 3 + 1) {
    const Tensor tensor = at::empty({bytes}, at::kByte);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % 64, 0U) << bytes;
  }
}

TEST_F(HostMemoryOfTensors, EmptyOnesHaveNone) {
  const Tensor none = at::empty({0}, at::kFloat);
  EXPECT_EQ(none.const_data_ptr(), nullptr);
  EXPECT_EQ(live(), 0);
}

TEST_F(HostMemoryOfTensors, OutliveTheThreadThatMadeThem) {
  Tensor tensor;
  std::thread([&tensor] { tensor = at::full({100'000}, 3.0F); }).join();
  EXPECT_EQ(tensor[99'999].item<float>(), 3.0F);
  EXPECT_EQ(live(), 400'000);
}

TEST_F(HostMemoryOfTensors, ResizingKeepsTheContents) {
  Tensor tensor = at::arange(10, at::kLong);
  tensor.resize_({100'000});
  EXPECT_EQ(tensor[9].item<int64_t>(), 9);
  EXPECT_EQ(live(), 800'000);
}

TEST_F(HostMemoryOfTensors, TooLargeATensorIsAnErrorWithNumbers) {
  EXPECT_THROW_WITH((void)at::empty({int64_t{1} << 50}, at::kByte), HostMemoryError,
                    "cannot allocate memory for a tensor of 1073741824.0 MiB", "data.max_length");
}

}  // namespace
}  // namespace molora
