#include "parallel/token_exchange.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "base/mutation.h"
#include "parallel/linear_map.h"
#include "tensor/tensor_bytes.h"

namespace molora {

namespace {

// The sum over destinations, in rank order: within one destination a token has at most one row.
Tensor sum_by_token(const TokenExchange& exchange, const Tensor& rows_SD) {
  const at::ScalarType precision = rows_SD.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  Tensor sum_TD =
      at::zeros({exchange.num_tokens, rows_SD.size(1)}, rows_SD.options().dtype(precision));
  int64_t begin = 0;
  for (const int64_t rows : exchange.send_rows) {
    const Tensor tokens = exchange.tokens_S.slice(0, begin, begin + rows);
    const Tensor values = rows_SD.slice(0, begin, begin + rows).to(precision);
    if (MOLORA_MUTANT(kCombineLastOnly)) {
      sum_TD.index_copy_(0, tokens, values);
    } else {
      sum_TD.index_add_(0, tokens, values);
    }
    begin += rows;
  }
  return sum_TD.to(rows_SD.scalar_type());
}

Tensor return_and_sum(const TokenExchange& exchange, const Tensor& rows_RD) {
  Tensor rows_SD = all_to_all_rows(*exchange.ep, rows_RD, exchange.recv_rows, exchange.send_rows);
  if (MOLORA_MUTANT(kReturnedRowsReversed)) rows_SD = rows_SD.flip(0);
  return sum_by_token(exchange, rows_SD);
}

}  // namespace

int64_t TokenExchange::num_received() const {
  return std::accumulate(recv_rows.begin(), recv_rows.end(), int64_t{0});
}

TokenExchange plan_token_exchange(Communicator& ep, const Tensor& needed_TP) {
  MOLORA_CHECK_EQ(needed_TP.size(1), ep.size());
  TokenExchange exchange;
  exchange.ep = &ep;
  exchange.num_tokens = needed_TP.size(0);
  // Row-major order of [ranks, tokens] is the order of sending.
  const Tensor pairs = needed_TP.t().nonzero();
  exchange.destinations_S = pairs.select(1, 0).contiguous();
  exchange.tokens_S = pairs.select(1, 1).contiguous();
  const Tensor counts = needed_TP.sum(0, /*keepdim=*/false, at::kLong);
  exchange.send_rows.assign(counts.const_data_ptr<int64_t>(),
                            counts.const_data_ptr<int64_t>() + counts.numel());
  exchange.recv_rows.resize(exchange.send_rows.size());
  const std::vector<size_t> one_number(exchange.send_rows.size(), sizeof(int64_t));
  ep.all_to_all(std::as_bytes(std::span(exchange.send_rows)), one_number,
                std::as_writable_bytes(std::span(exchange.recv_rows)), one_number);
  if (MOLORA_MUTANT(kCountsNotExchanged)) exchange.recv_rows = exchange.send_rows;
  return exchange;
}

DispatchedRows start_dispatch(const TokenExchange& exchange, const Tensor& x_TD) {
  DispatchedRows result;
  const auto start = [&](const Tensor& in) {
    Tensor rows_SD = in.index_select(0, exchange.tokens_S);
    if (MOLORA_MUTANT(kDispatchReversed)) rows_SD = rows_SD.flip(0);
    result.pending = std::make_shared<PendingRows>(*exchange.ep, rows_SD, exchange.send_rows,
                                                   exchange.recv_rows);
    return result.pending->received();
  };
  const auto transpose = [exchange](const Tensor& gradient_RD) {
    const Tensor sum_TD = return_and_sum(exchange, gradient_RD);
    return MOLORA_MUTANT(kDispatchBackwardDropped) ? at::zeros_like(sum_TD) : sum_TD;
  };
  result.rows_RD = apply_linear_map(x_TD, {start, transpose});
  return result;
}

Tensor exchange_rows(const TokenExchange& exchange, const Tensor& rows_SD) {
  const auto there = [exchange](const Tensor& in) {
    const Tensor rows_RD =
        all_to_all_rows(*exchange.ep, in, exchange.send_rows, exchange.recv_rows);
    return MOLORA_MUTANT(kGatesReversed) ? rows_RD.flip(0) : rows_RD;
  };
  const auto back = [exchange](const Tensor& gradient) {
    const Tensor returned =
        all_to_all_rows(*exchange.ep, gradient, exchange.recv_rows, exchange.send_rows);
    return MOLORA_MUTANT(kGatesBackwardDropped) ? at::zeros_like(returned) : returned;
  };
  return apply_linear_map(rows_SD, {there, back});
}

Tensor combine(const TokenExchange& exchange, const Tensor& results_RO) {
  const auto back = [exchange](const Tensor& in) { return return_and_sum(exchange, in); };
  const auto transpose = [exchange](const Tensor& gradient_TO) {
    Tensor rows_SO = gradient_TO.index_select(0, exchange.tokens_S);
    if (MOLORA_MUTANT(kCombineBackwardSwapped)) rows_SO = rows_SO.flip(0);
    return all_to_all_rows(*exchange.ep, rows_SO, exchange.send_rows, exchange.recv_rows);
  };
  return apply_linear_map(results_RO, {back, transpose});
}

}  // namespace molora
