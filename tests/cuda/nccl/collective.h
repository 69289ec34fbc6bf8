// The operations in which all ranks of a communicator take part.
//
// In rounds: each rank writes the next piece of what it sends, with what it believes to be called,
// into its part of the shared memory; when all have written, each reads what it needs. Two buffers
// per rank let a fast rank be one round ahead. The first round tells whether all have called the
// same.
#pragma once

#include "communicator.h"
#include "operation.h"

namespace molora::fake_nccl {

// Carries the operation out on the calling thread (a stream's). False when the communicator has
// failed or was aborted; then the destination holds nothing of use.
bool run_collective(Communicator& communicator, const Operation& operation);

}  // namespace molora::fake_nccl
