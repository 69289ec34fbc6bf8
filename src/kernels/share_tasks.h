// Tasks of different length for the threads of LibTorch.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

namespace molora {

// Calls run(task) for each of them; a thread takes the next when it is done with one. Results must
// not depend on which thread it was, nor on the order. Inside a task there is no gradient mode.
template <typename Run>
void share_tasks(int64_t num_tasks, const Run& run) {
  const int64_t num_threads = std::min<int64_t>(at::get_num_threads(), num_tasks);
  std::atomic<int64_t> next = 0;
  at::parallel_for(0, num_threads, 1, [&](int64_t begin, int64_t end) {
    const at::NoGradGuard no_grad;  // of this thread
    for (int64_t share = begin; share < end; ++share) {
      for (int64_t task = next++; task < num_tasks; task = next++) run(task);
    }
  });
}

}  // namespace molora
