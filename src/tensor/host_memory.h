// The memory of LibTorch's tensors on the CPU: kept and used again instead of returned to the
// system, and counted.
//
// A training step allocates and frees the same tensors again and again; what malloc gives back to
// the system between them costs page faults. Here freed memory is joined with its neighbours and
// stays, up to a ninth more than the tensors have needed lately; what is above that goes back. Any
// thread may allocate and free.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"

namespace molora {

// The system gives no memory for a tensor.
class HostMemoryError : public Error {
 public:
  explicit HostMemoryError(const std::string& message) : Error(ExitCode::kMemory, message) {}
};

// From here on new CPU tensors get their memory so. To be called before other threads make tensors,
// best before the first one; those made before stay as they are. In a build with sanitizers, which
// watch malloc, it does nothing.
void use_caching_host_allocator();

struct HostMemory {
  int64_t live_bytes = 0;  // of tensors now, as they were asked for
  int64_t peak_bytes = 0;  // the most of those since the last reset
  int64_t held_bytes = 0;  // taken from the system, in whole pages
};
// All zeros when the allocator is not in use.
HostMemory host_memory();
void reset_host_memory_peak();

}  // namespace molora
