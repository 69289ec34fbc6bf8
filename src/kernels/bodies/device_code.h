// What the bodies of kernels are written in: C++ that nvcc compiles for the GPU and g++ for the
// host.
//
// A body is a struct of arguments (pointers, sizes) with
//   kThreads               threads of a block
//   kMeetsThreads          whether threads wait for one another (sync, shuffle_xor, ballot)
//   Shared                 what the threads of one block share; NothingShared when nothing
//   num_blocks()           how many blocks the work needs; 0 when there is none
//   operator()(thread, shared)   what one thread does
//   kLeastBlocks           only where the compiler would rather spill than take the registers that
//   it
//                          needs: so many blocks on a multiprocessor are enough
// All that a body knows of the machine is its `thread`:
//   int index(), int64_t block()      which thread of which block
//   void sync()                       all threads of the block meet
//   T shuffle_xor(T value, int mask)  the value of lane (own lane ^ mask); all 32 lanes meet
//   unsigned ballot(bool flag)        bit per lane; all 32 lanes meet
//   void fail()                       an argument is wrong: ends the program, never goes on
// On the GPU that is kernels/cuda/run_kernel.cuh. Tests run the same bodies on the host, threads in
// any order. Bodies add floating-point numbers in an order of their own, never by atomics: results
// are the same from run to run and in whatever order threads come.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define MOLORA_DEVICE __device__ __forceinline__
#define MOLORA_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define MOLORA_DEVICE inline
#define MOLORA_HOST_DEVICE inline
#endif

namespace molora {

constexpr int kWarpLanes = 32;

struct NothingShared {};

MOLORA_HOST_DEVICE int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How a block of kThreads threads is cut into groups of neighbours that take one row each. A group
// has 2^log2 threads; each takes every 2^log2-th column.
template <int kThreads>
struct RowGroups {
  int log2 = 0;

  // The smallest group that takes `columns` in one go, within `most` threads.
  static RowGroups for_columns(int64_t columns, int most = kThreads) {
    RowGroups groups;
    while ((1 << groups.log2) < most && (int64_t{1} << groups.log2) < columns) ++groups.log2;
    return groups;
  }
  MOLORA_HOST_DEVICE int size() const { return 1 << log2; }
  int64_t num_blocks(int64_t rows) const { return divide_up(rows, kThreads >> log2); }

  template <typename Thread>
  MOLORA_DEVICE int64_t row(const Thread& thread) const {
    return thread.block() * (kThreads >> log2) + (thread.index() >> log2);
  }
  template <typename Thread>
  MOLORA_DEVICE int column(const Thread& thread) const {
    return thread.index() & (size() - 1);
  }
};

}  // namespace molora
