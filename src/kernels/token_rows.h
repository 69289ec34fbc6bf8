// Rows of tokens put into the order in which they are sent, and summed back at their tokens.
//
//   T tokens of this rank, S rows sent, P destinations
#pragma once

#include <cstdint>

#include <ATen/ATen.h>

namespace molora {

using at::Tensor;

// x's rows picked by index: [index, width]. x: [rows, width], any type; index_S: int64, each within
// x's rows. No gradient is recorded: combine_rows() is the transpose.
Tensor gather_rows(const Tensor& x, const Tensor& index_S);

// Rows go by destination, and within one by token. Nothing here waits for the device: the number of
// rows is the sum of counts_P, which the host has to learn by itself.
struct ExchangeIndex {
  Tensor counts_P;     // [destinations] int64: rows to each
  Tensor position_TP;  // [tokens, destinations] int64: the row, -1 where the token does not go
};
// needed_TP: [tokens, destinations] bool.
ExchangeIndex exchange_index(const Tensor& needed_TP);

struct SentRows {
  Tensor tokens_S;        // [rows] int64: the token of each row
  Tensor destinations_S;  // [rows] int64
};
// REQUIRES: num_rows is the sum of counts_P.
SentRows list_sent_rows(const Tensor& position_TP, int64_t num_rows);

// rows_SD: [rows, width]. Returns [tokens, width]: for each token the sum of its rows, in the order
// of destinations, in fp32 (fp64 for fp64), rounded once. No gradient is recorded.
Tensor combine_rows(const Tensor& rows_SD, const Tensor& position_TP);

}  // namespace molora
