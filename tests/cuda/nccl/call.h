// What every call on a communicator begins with: the handle, the rule on threads, what is broken
// already, and what has not been polled.
#pragma once

#include <nccl.h>

#include "communicator.h"
#include "communicator_table.h"
#include "device_use.h"
#include "report.h"

namespace molora::fake_nccl {

// ncclSuccess, or what a call on this communicator answers without being carried out.
ncclResult_t why_not_usable(Communicator& communicator);

// body(communicator) as the call `name`.
template <typename Body>
ncclResult_t call_on(const char* name, ncclComm_t handle, Body&& body) {
  current_call() = name;
  const std::shared_ptr<Communicator> communicator = find_handle(handle);
  if (!communicator) return ncclInvalidArgument;
  const Inside inside(*communicator);
  if (!inside.is_allowed()) return ncclInvalidUsage;
  const ncclResult_t before = why_not_usable(*communicator);
  return before == ncclSuccess ? body(communicator) : before;
}

}  // namespace molora::fake_nccl
