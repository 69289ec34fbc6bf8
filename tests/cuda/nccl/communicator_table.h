// The handles that the program holds. A handle is never used twice, so that one that was destroyed
// or aborted is known as such.
#pragma once

#include <memory>
#include <string>

#include <nccl.h>

#include "communicator.h"

namespace molora::fake_nccl {

ncclComm_t add_handle(std::shared_ptr<Communicator> communicator);

// nullptr, and a report, when the handle is not alive.
std::shared_ptr<Communicator> find_handle(ncclComm_t handle);

// `how` is what became of it: "destroyed".
void remove_handle(ncclComm_t handle, const std::string& how);

}  // namespace molora::fake_nccl
