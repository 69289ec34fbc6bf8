#include "parallel/token_exchange.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "base/mutation.h"
#include "device/compute_device.h"
#include "kernels/kernel_choice.h"
#include "kernels/token_rows.h"
#include "parallel/linear_map.h"
#include "tensor/tensor_bytes.h"

namespace molora {

namespace {

// The last of each token's rows alone; only by mutation.
Tensor last_positions(const Tensor& position_TP) {
  const Tensor is_sent_TP = position_TP >= 0;
  const Tensor later_TP = is_sent_TP.flip(1).to(at::kLong).cumsum(1).flip(1);
  return at::where(later_TP == 1, position_TP, -1);
}

// The sum over destinations, in rank order: within one destination a token has at most one row.
Tensor sum_by_token(const TokenExchange& exchange, const Tensor& rows_SD) {
  if (MOLORA_MUTANT(kCombineLastOnly)) {
    return combine_rows(rows_SD, last_positions(exchange.position_TP));
  }
  if (fused_kernels_wanted(rows_SD)) return combine_rows(rows_SD, exchange.position_TP);
  // The same without going through the tokens that a destination has none of.
  const at::ScalarType precision = rows_SD.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  Tensor sum_TD =
      at::zeros({exchange.num_tokens, rows_SD.size(1)}, rows_SD.options().dtype(precision));
  int64_t begin = 0;
  for (const int64_t rows : exchange.send_rows) {
    sum_TD.index_add_(0, exchange.tokens_S.slice(0, begin, begin + rows),
                      rows_SD.slice(0, begin, begin + rows).to(precision));
    begin += rows;
  }
  return sum_TD.to(rows_SD.scalar_type());
}

std::vector<int64_t> numbers(const Tensor& values) {
  const std::span<const int64_t> all = elements<int64_t>(values);
  return {all.begin(), all.end()};
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
  const ExchangeIndex index = exchange_index(needed_TP);
  exchange.position_TP = index.position_TP;
  const Tensor received_P =
      MOLORA_MUTANT(kCountsNotExchanged) ? index.counts_P : all_to_all_equal(ep, index.counts_P);
  // The host waits for the device here: how many rows come decides how large their buffers are, and
  // NCCL takes lengths from the host. Once for each group of linears, forward; nothing else waits.
  const Tensor counts_2P = to_host(at::stack({index.counts_P, received_P}));
  exchange.send_rows = numbers(counts_2P[0]);
  exchange.recv_rows = numbers(counts_2P[1]);
  const int64_t num_sent =
      std::accumulate(exchange.send_rows.begin(), exchange.send_rows.end(), int64_t{0});
  const SentRows rows = list_sent_rows(index.position_TP, num_sent);
  exchange.tokens_S = rows.tokens_S;
  exchange.destinations_S = rows.destinations_S;
  return exchange;
}

DispatchedRows start_dispatch(const TokenExchange& exchange, const Tensor& x_TD) {
  DispatchedRows result;
  const auto start = [&](const Tensor& in) {
    Tensor rows_SD = gather_rows(in, exchange.tokens_S);
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
    Tensor rows_SO = gather_rows(gradient_TO, exchange.tokens_S);
    if (MOLORA_MUTANT(kCombineBackwardSwapped)) rows_SO = rows_SO.flip(0);
    return all_to_all_rows(*exchange.ep, rows_SO, exchange.send_rows, exchange.recv_rows);
  };
  return apply_linear_map(results_RO, {back, transpose});
}

}  // namespace molora
