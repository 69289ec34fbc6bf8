// From a loop to the threads of this process and the instructions of this CPU.
//
// Included by the .cc files of kernels/ alone.
#pragma once

#include <algorithm>
#include <cstdint>

#include <ATen/Parallel.h>

#include "kernels/host/all_loops.h"
#include "kernels/host/instruction_set.h"

namespace molora {

// Defined by loops_of_set.cc for each loop of all_loops.h, once for each instruction set.
template <InstructionSet kSet, typename Loop>
void run_rows(const Loop& loop, int64_t begin, int64_t end);

// The numbers that are worth another thread.
constexpr int64_t kNumbersPerThread = 16384;

// Runs the loop over its rows, each of about so many numbers, by the threads that LibTorch's
// operators use. Ready when it returns.
template <typename Loop>
void run_loop(const Loop& loop, int64_t num_rows, int64_t numbers_per_row) {
#if defined(__x86_64__)
  const InstructionSet set = instruction_set();
#endif
  const int64_t grain =
      std::max<int64_t>(1, kNumbersPerThread / std::max<int64_t>(1, numbers_per_row));
  at::parallel_for(0, num_rows, grain, [&](int64_t begin, int64_t end) {
#if defined(__x86_64__)
    if (set == InstructionSet::kAvx512) return run_rows<InstructionSet::kAvx512>(loop, begin, end);
    if (set == InstructionSet::kAvx2) return run_rows<InstructionSet::kAvx2>(loop, begin, end);
#endif
    run_rows<InstructionSet::kPlain>(loop, begin, end);
  });
}

}  // namespace molora
