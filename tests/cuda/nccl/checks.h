// What is checked of an operation when it is called.
#pragma once

#include "communicator.h"
#include "operation.h"

namespace molora::fake_nccl {

// Type, operator, root or peer; then the stream; then the buffers: each must lie in live device
// memory of the communicator's device, and they may overlap only in the documented in-place forms.
// Anything else is a breach: ncclInvalidArgument for the first, ncclInvalidUsage for the rest.
ncclResult_t check_operation(Communicator& communicator, const Operation& operation);

}  // namespace molora::fake_nccl
