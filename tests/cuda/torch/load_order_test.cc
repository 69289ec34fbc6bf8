// What becomes of load_cuda() when LibTorch was asked for CUDA before. A program of its own:
// LibTorch asks once in the life of a process.
#include <string>

#include <ATen/Context.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "device/compute_device.h"

namespace molora {
namespace {

TEST(LoadOrder, AskingForCudaBeforeItIsLoadedIsNamed) {
  EXPECT_FALSE(at::hasCUDA());
  try {
    load_cuda();
    FAIL() << "loaded";
  } catch (const InternalError& error) {
    EXPECT_THAT(std::string(error.what()),
                ::testing::HasSubstr("LibTorch was asked for CUDA before "
                                     "load_cuda()"));
  }
}

}  // namespace
}  // namespace molora
