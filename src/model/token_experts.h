// `tokens` exchange: token rows travel to the ranks where their experts live, and results back.
#pragma once

#include <vector>

#include <ATen/ATen.h>

#include "model/adapter.h"
#include "model/bottleneck.h"
#include "model/parallel_layout.h"
#include "model/router.h"
#include "parallel/token_exchange.h"

namespace molora {

using at::Tensor;

// One exchange for all linears of a group, on the tokens of this rank. Construction routes the
// tokens and sends them off; the caller does other work (nothing with the ep communicator), then
// takes the results.
//
//   t tokens of this rank, R rows received, e experts held here, P ep ranks
class TokenExperts {
 public:
  // x_tD: [own tokens, in]. adapters: not empty, all `tokens`.
  TokenExperts(const Tensor& x_tD, std::vector<const LinearAdapter*> adapters,
               const ForwardPass& pass);

  // The adapters' results for the own tokens, in the order of the adapters: [own tokens, out] each.
  std::vector<Tensor> results();

 private:
  Tensor exchange_gates() const;
  TokenIds exchange_ids() const;
  Tensor grouped_results(const Tensor& x_RD, const LinearAdapter& adapter, const Tensor& gates_Re,
                         const TokenIds& ids) const;

  std::vector<const LinearAdapter*> adapters_;
  const ForwardPass& pass_;
  std::vector<Routing> routing_;
  TokenExchange exchange_;
  DispatchedRows rows_;
};

}  // namespace molora
