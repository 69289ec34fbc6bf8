// Sends and receives: all of one group at once, each pair of ranks in order.
//
// A message goes through the channel of its pair in pieces; the first tells count and type. A send
// has ended when the receiver has read all of it, so that ranks that rely on buffering are found
// out.
#pragma once

#include <vector>

#include "communicator.h"
#include "operation.h"

namespace molora::fake_nccl {

// Carries the sends and receives out on the calling thread (a stream's). False when the
// communicator has failed or was aborted.
bool run_peer_transfers(Communicator& communicator, const std::vector<Operation>& operations);

}  // namespace molora::fake_nccl
