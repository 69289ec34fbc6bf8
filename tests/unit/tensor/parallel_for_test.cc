#include <mutex>
#include <set>
#include <thread>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

namespace molora {
namespace {

// It is an inline function of LibTorch that runs on one thread where the compiler had OpenMP off.
TEST(ParallelFor, RunsOnAsManyThreadsAsLibTorchDoes) {
  const int before = at::get_num_threads();
  at::set_num_threads(3);
  std::mutex mutex;
  std::set<std::thread::id> threads;
  at::parallel_for(0, 3, 1, [&](int64_t, int64_t) {
    const std::lock_guard lock(mutex);
    threads.insert(std::this_thread::get_id());
  });
  at::set_num_threads(before);
  EXPECT_EQ(threads.size(), 3U);
}

// One run time of OpenMP in the process: LibTorch knows of the regions that this code begins.
TEST(ParallelFor, IsKnownToLibTorch) {
  const int before = at::get_num_threads();
  at::set_num_threads(2);
  EXPECT_FALSE(at::in_parallel_region());
  bool is_known = false;
  at::parallel_for(0, 2, 1, [&](int64_t begin, int64_t) {
    if (begin == 0) is_known = at::in_parallel_region();
  });
  at::set_num_threads(before);
  EXPECT_TRUE(is_known);
}

}  // namespace
}  // namespace molora
