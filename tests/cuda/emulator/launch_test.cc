// What starts a kernel (kernels/cuda/launch.h), by the CUDA run time.
#include "kernels/cuda/launch.h"

#include <vector>

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include "kernels/bodies/exchange_index_body.h"

namespace molora {
namespace {

// One row, of token 0 for destination 0.
TEST(Launch, AnEarlierErrorOfTheThreadIsNotItsOwn) {
  EXPECT_EQ(cudaSetDevice(99), cudaErrorInvalidDevice);  // stays the thread's last error
  // On the heap, which a real GPU reaches in this program; it does not reach the stack.
  const std::vector<int64_t> position = {0};
  std::vector<int64_t> token = {-1};
  std::vector<int64_t> destination = {-1};
  const ListSentRows body = {position.data(), token.data(), destination.data(), 1, 1, 1};
  EXPECT_EQ(launch(body, nullptr), cudaSuccess);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(token.front(), 0);
  EXPECT_EQ(destination.front(), 0);
}

TEST(Launch, WithoutBlocksNothingIsStarted) {
  EXPECT_EQ(launch(ListSentRows{nullptr, nullptr, nullptr, 0, 1, 0}, nullptr), cudaSuccess);
}

TEST(Launch, MoreBlocksThanAGridAreRefused) {
  const ListSentRows body = {nullptr, nullptr, nullptr, (int64_t{1} << 31) * 256, 1, 1};
  const int error = launch(body, nullptr);
  EXPECT_STREQ(launch_error_name(error), "cudaErrorInvalidConfiguration");
  EXPECT_STREQ(launch_error_words(error), "invalid configuration argument");
}

}  // namespace
}  // namespace molora
