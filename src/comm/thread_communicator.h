// Ranks as threads of one process: the back end of tests that compare many ranks with one.
//
// Stricter than MPI: a mismatch of operation or size is an InternalError that names both ranks, and
// a rank that leaves by an exception wakes the others with a CommError instead of letting them
// hang.
#pragma once

#include <functional>
#include <string>

#include "comm/communicator.h"

namespace molora {

// Runs `body` once per rank, each in a thread of its own with its communicator, and waits for all.
// Rethrows the exception of the lowest rank that failed by itself (not through a peer's failure).
void run_rank_threads(int num_ranks, const std::function<void(Communicator&)>& body);

}  // namespace molora
