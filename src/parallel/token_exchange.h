// Rows of tokens sent to the ranks that hold their experts, and results brought back.
//
//   plan      which tokens go to which rank; one exchange of counts
//   dispatch  token rows -> one copy per (token, destination rank), grouped by sender on arrival
//   combine   result rows -> back to their tokens, summed over the destinations in rank order
//
// dispatch and combine are each other's transpose, so each is the other's backward pass. Within a
// destination rows keep the order of their tokens. Ranks without rows take part with empty tensors:
// the same collectives run everywhere, forward and backward, whatever the routing.
//
//   T tokens of this rank, S rows sent, R rows received, P ranks of the ep group
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/ATen.h>

#include "comm/communicator.h"
#include "parallel/tensor_collectives.h"

namespace molora {

using at::Tensor;

struct TokenExchange {
  Communicator* ep = nullptr;
  int64_t num_tokens = 0;          // T
  Tensor tokens_S;                 // int64: the token of each row sent, by destination, ascending
  Tensor destinations_S;           // int64
  Tensor position_TP;              // int64: the row of each token and destination, -1: none
  std::vector<int64_t> send_rows;  // by destination
  std::vector<int64_t> recv_rows;  // by source

  int64_t num_received() const;
};

// needed_TP: [tokens, ranks] bool, whether a token has to go to a rank (its own included).
// Collective. Bytes sent: 8 to each other rank.
TokenExchange plan_token_exchange(Communicator& ep, const Tensor& needed_TP);

// Rows under way. `rows_RD` is part of the graph from the start, but holds its values only after
// wait(); until then nothing else may use the ep communicator.
struct DispatchedRows {
  Tensor rows_RD;
  std::shared_ptr<PendingRows> pending;
  void wait() const { pending->wait(); }
};

// x_TD: [tokens, width]. Bytes sent: rows for other ranks, once each; the same in backward.
DispatchedRows start_dispatch(const TokenExchange& exchange, const Tensor& x_TD);

// Rows that are already chosen and ordered as tokens_S: [S, width] -> [R, width].
Tensor exchange_rows(const TokenExchange& exchange, const Tensor& rows_SD);

// results_RO: [received rows, width]. Returns [tokens, width]: the sum over the ranks that a token
// was sent to, in rank order and fp32 (fp64 for fp64), rounded once.
Tensor combine(const TokenExchange& exchange, const Tensor& results_RO);

}  // namespace molora
