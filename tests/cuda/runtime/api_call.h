// What every call of the fake run time begins and ends with: planned failures, the error that
// stays, and cudaGetLastError's memory.
#pragma once

#include <driver_types.h>

#include <cstdint>

namespace molora::fake_cuda {

// The error that the call `name` answers without being carried out, or cudaSuccess: the one that
// FAKE_CUDA_FAIL plans, one that stays, or the refusal of calls from host functions on a stream.
cudaError_t enter(const char* name);

// Remembers an error for cudaGetLastError of this thread and returns it.
cudaError_t leave(cudaError_t error);

template <typename Body>
cudaError_t call(const char* name, Body&& body) {
  const cudaError_t before = enter(name);
  return leave(before == cudaSuccess ? body() : before);
}

// This thread's latest error; `forget` makes it cudaSuccess afterwards.
enum class AndThen { kKeep, kForget };
cudaError_t latest_error(AndThen then);

// The error that stays, or cudaSuccess: what a wait for a stream may have brought to light.
cudaError_t latest_error_that_stays();

// From now on every call of the process fails so, as after a fault on a real device.
void fail_for_good(cudaError_t error);

// Whether the planned failure of the n-th `name` is due. For what is not a call: "kernel".
bool planned_failure_is_due(const char* name);

// While it lives, this thread runs a function that cudaLaunchHostFunc put on a stream.
class InHostFunction {
 public:
  InHostFunction();
  ~InHostFunction();
  InHostFunction(const InHostFunction&) = delete;
  InHostFunction& operator=(const InHostFunction&) = delete;
  InHostFunction(InHostFunction&&) = delete;
  InHostFunction& operator=(InHostFunction&&) = delete;
};

}  // namespace molora::fake_cuda
