// What starts a kernel (kernels/cuda/launch.h), by the CUDA run time.
#include "kernels/cuda/launch.h"

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include "kernels/bodies/exchange_index_body.h"

namespace molora {
namespace {

// One row, of token 0 for destination 0.
TEST(Launch, AnEarlierErrorOfTheThreadIsNotItsOwn) {
  EXPECT_EQ(cudaSetDevice(99), cudaErrorInvalidDevice);  // stays the thread's last error
  const int64_t position = 0;
  int64_t token = -1;
  int64_t destination = -1;
  EXPECT_EQ(launch(ListSentRows{&position, &token, &destination, 1, 1, 1}, nullptr), cudaSuccess);
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(token, 0);
  EXPECT_EQ(destination, 0);
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
