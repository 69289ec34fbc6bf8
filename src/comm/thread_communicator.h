// Ranks as threads of one process: the back end of tests that compare many ranks with one.
//
// Stricter than MPI: a mismatch of operation or size is an InternalError that names both ranks, and
// a rank that leaves by an exception wakes the others with a CommError instead of letting them
// hang. Ranks that wait for each other, or for one that has ended, get a CommError after a time.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "comm/communicator.h"

namespace molora {

struct RankThreadOptions {
  // How long a rank waits in one collective. A test's ranks share few cores, and one may well
  // compute for long while the others wait.
  std::chrono::milliseconds time_limit = std::chrono::seconds(120);
};

// Runs `body` once per rank, each in a thread of its own with its communicator, and waits for all.
// Rethrows the exception of the lowest rank that failed by itself (not through a peer's failure).
// Throws: CommError when a collective took longer than the limit: which rank of which communicator
// waited where, for whom, and where the others stood.
void run_rank_threads(int num_ranks, const std::function<void(Communicator&)>& body,
                      const RankThreadOptions& options = {});

}  // namespace molora
