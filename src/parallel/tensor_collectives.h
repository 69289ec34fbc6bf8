// Collectives over tensors whose dimension 0 is dealt out over the members, in rank order.
//
// Sums are made in fixed rank order, in fp32 (fp64 for fp64, integers as they are), and rounded
// once to the tensor's own type, so that back ends agree bit for bit. Tensors lie where the
// communicator has its buffers. Nothing here has a gradient (parallel/regions.h does). A group of
// one returns its argument.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "comm/communicator.h"

namespace molora {

using at::Tensor;

// mine: [rows[rank], ...]. Returns all members' rows: [sum of rows, ...].
// Bytes sent: mine x (members - 1).
Tensor all_gather_rows(Communicator& communicator, const Tensor& mine,
                       const std::vector<int64_t>& rows);

// partial: [sum of rows, ...], one summand on each member. Returns this member's rows of the sum.
// Bytes sent: partial less the own rows.
Tensor reduce_scatter_rows(Communicator& communicator, const Tensor& partial,
                           const std::vector<int64_t>& rows);

// The sum over all members, any shape: reduce-scatter of elements, then all-gather.
Tensor all_reduce_sum(Communicator& communicator, const Tensor& partial);

// send: [sum of send_rows, ...], grouped by receiver. Returns [sum of recv_rows, ...], grouped by
// sender.
Tensor all_to_all_rows(Communicator& communicator, const Tensor& send,
                       const std::vector<int64_t>& send_rows,
                       const std::vector<int64_t>& recv_rows);

// send: [members x n, ...]: n rows for each member, the same n everywhere. Returns the same shape.
Tensor all_to_all_equal(Communicator& communicator, const Tensor& send);

// An all-to-all that was started; `received` is filled when wait() has returned.
class PendingRows {
 public:
  PendingRows(Communicator& communicator, const Tensor& send, const std::vector<int64_t>& send_rows,
              const std::vector<int64_t>& recv_rows);
  const Tensor& received() const { return received_; }
  void wait();

 private:
  Tensor send_;
  Tensor received_;
  std::unique_ptr<PendingExchange> pending_;  // null when there is nobody to wait for
};

// mine: [n, columns[rank]]. Returns [n, sum of columns].
Tensor all_gather_columns(Communicator& communicator, const Tensor& mine,
                          const std::vector<int64_t>& columns);

}  // namespace molora
