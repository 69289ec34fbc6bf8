// Sums over the members of a communicator, in an order that depends on nothing but the ranks.
//
// Every element is added as ((x_0 + x_1) + x_2) + ... in rank order and in its own precision, so
// the bits do not depend on the back end, on the length of the buffer or on how it was cut: MPI,
// NCCL and threads agree. (MPI_Allreduce and ncclAllReduce choose their order by size and
// topology.)
//
// Steps: all_to_all of chunks, local sum, all_gather. Bytes sent per member for n bytes and p
// members: n (p-1)/p + n (p-1)/p, as a ring all-reduce.
#pragma once

#include <span>

#include "comm/communicator.h"

namespace molora {

// Replaces `values` by their sum over all members. REQUIRES: equal sizes everywhere.
void fixed_order_sum(Communicator& communicator, std::span<float> values);
void fixed_order_sum(Communicator& communicator, std::span<double> values);
void fixed_order_sum(Communicator& communicator, std::span<int64_t> values);

}  // namespace molora
