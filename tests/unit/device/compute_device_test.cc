#include "device/compute_device.h"

#include <string>

#include <gtest/gtest.h>

#include "base/error.h"

namespace molora {
namespace {

// What a GPU does is tested over the test libraries (tests/cuda); on the CPU all of this is
// nothing.
TEST(ComputeDevice, TheCpuNeedsNoCopiesAndNoWaits) {
  const Tensor x = at::arange(6, at::kFloat).view({2, 3});
  EXPECT_TRUE(to_device(x, at::kCPU).is_same(x));
  EXPECT_TRUE(to_host(x).is_same(x));
  EXPECT_EQ(compute_stream(at::kCPU), nullptr);
  bool was_asked = false;
  set_wait_until([&was_asked](const std::function<bool()>&) { was_asked = true; });
  finish_work(at::kCPU);
  set_wait_until(nullptr);
  EXPECT_FALSE(was_asked);
}

TEST(ComputeDevice, WithoutAGpuSaysWhatIsMissing) {
  try {
    EXPECT_GT(load_cuda(), 0);  // a machine with one
  } catch (const ConfigError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("device.kind is cuda"), std::string::npos) << text;
    EXPECT_NE(text.find("device.kind=cpu"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace molora
