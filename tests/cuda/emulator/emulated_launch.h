// launch() of src/kernels/cuda/launch.h without a GPU and without nvcc: a program that is linked
// with emulated_launch.cc runs the bodies at once, on the calling thread.
#pragma once

#include <cstdint>

namespace molora::testing {

// How many kernels have been started.
int64_t emulated_launches();

// The order of threads from here on (cuda/emulator/emulate.h).
void set_emulated_order(uint64_t seed);

// What launch() returns from here on instead of starting anything; 0: it works again.
void set_emulated_error(int error);

}  // namespace molora::testing
