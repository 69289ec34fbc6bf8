// The borders of tensor-parallel regions: collectives with their gradient.
//
//   operation         forward                    backward                     where
//   copy_to           identity                   sum over tp                  input of column
//   linears reduce_from       sum over tp                identity                     output of row
//   linears gather_rows       all-gather of rows         reduce-scatter of rows       the same two,
//   with scatter_rows      reduce-scatter of rows     all-gather of rows           sequence
//   parallelism columns_to_rows   all-to-all                 all-to-all, transposed       `tokens`
//   exchange: rows_to_columns   all-to-all                 all-to-all, transposed       own tokens,
//   whole width
//
// gather_rows takes the gradient as partial on each rank (what follows is work split over tp);
// where it would be the same on every rank, this is the wrong operation. Bytes:
// tensor_collectives.h. A communicator of one makes every operation the identity, without a node in
// the graph. The communicator must outlive the backward pass.
//
//   T tokens of the micro-batch, t tokens of this rank, D columns
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "comm/communicator.h"
#include "parallel/shard.h"

namespace molora {

using at::Tensor;

Tensor copy_to(Communicator& tp, const Tensor& x);
Tensor reduce_from(Communicator& tp, const Tensor& partial);

// x_tD: [rows[rank], ...]. Returns [sum of rows, ...].
Tensor gather_rows(Communicator& tp, const Tensor& x_tD, const std::vector<int64_t>& rows);
// partial_TD: [sum of rows, ...]. Returns this rank's rows of the sum.
Tensor scatter_rows(Communicator& tp, const Tensor& partial_TD, const std::vector<int64_t>& rows);

// Which columns of a matrix each tp rank has for all tokens, and which tokens it has whole.
struct ColumnLayout {
  std::vector<Slice> columns;  // by rank; may repeat (key-value heads that several ranks hold)
  std::vector<int64_t> rows;   // by rank: lengths of the balanced parts of the tokens
  int64_t width = 0;           // all columns
};

// x_Td: [all tokens, columns[rank]]. Returns [own tokens, width]. Columns must not repeat.
Tensor columns_to_rows(Communicator& tp, const Tensor& x_Td, const ColumnLayout& layout);
// x_tD: [own tokens, width]. Returns [all tokens, columns[rank]]. The gradient of columns that
// several ranks hold is the sum over them.
Tensor rows_to_columns(Communicator& tp, const Tensor& x_tD, const ColumnLayout& layout);

}  // namespace molora
