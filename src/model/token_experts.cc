#include "model/token_experts.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/mutation.h"
#include "model/replicated_tokens.h"

namespace molora {

TokenExperts::TokenExperts(const Tensor& x_tD, std::vector<const LinearAdapter*> adapters,
                           const ForwardPass& pass)
    : adapters_(std::move(adapters)), pass_(pass) {
  const int64_t num_ranks = pass.ep().size();
  Tensor needed_tP = at::zeros({x_tD.size(0), num_ranks}, x_tD.options().dtype(at::kBool));
  std::vector<ReadingAdapter> routers;
  for (const LinearAdapter* adapter : adapters_) {
    routers.push_back({adapter, {}, adapter->router_weight, {0, x_tD.size(1)}});
  }
  const InputReading reading = read_input(x_tD, {}, routers, pass.context(), {});
  for (size_t i = 0; i < adapters_.size(); ++i) {
    routing_.push_back(
        route_product(reading.adapters[i].router_TZ, *adapters_[i], own_routing(pass)));
    const Tensor by_rank_tPe =
        routing_.back().chosen_TE().unflatten(1, {num_ranks, adapters_[i]->place.experts.length});
    needed_tP = needed_tP.logical_or(by_rank_tPe.any(2));
  }
  exchange_ = plan_token_exchange(pass.ep(), needed_tP);
  rows_ = start_dispatch(exchange_, x_tD);
}

// The weights of the experts held here for each received row: [R, linears * e].
Tensor TokenExperts::exchange_gates() const {
  const int64_t num_ranks = pass_.ep().size();
  std::vector<Tensor> by_linear;
  for (const Routing& routing : routing_) {
    by_linear.push_back(routing.weights_TE.unflatten(1, {num_ranks, -1}));
  }
  const Tensor gates_tPe = at::cat(by_linear, 2);
  const Tensor gates_Se = gates_tPe.flatten(0, 1).index_select(
      0, exchange_.tokens_S * num_ranks + exchange_.destinations_S);
  return exchange_rows(exchange_, gates_Se);
}

// Only dropout asks which tokens the rows are.
TokenIds TokenExperts::exchange_ids() const {
  const bool is_needed = std::any_of(adapters_.begin(), adapters_.end(), [&](const auto* adapter) {
    return has_dropout(*adapter, pass_.context());
  });
  if (!is_needed) return {};
  const TokenIds own = token_ids(pass_.context().batch, pass_.own_tokens());
  const Tensor ids_S2 =
      at::stack({own.samples_T, own.positions_T}, 1).index_select(0, exchange_.tokens_S);
  const Tensor ids_R2 =
      all_to_all_rows(*exchange_.ep, ids_S2, exchange_.send_rows, exchange_.recv_rows);
  if (MOLORA_MUTANT(kDropoutMaskOfRow)) {
    return {at::zeros({ids_R2.size(0)}, ids_R2.options()),
            at::arange(ids_R2.size(0), ids_R2.options()),
            {}};
  }
  return {ids_R2.select(1, 0).contiguous(), ids_R2.select(1, 1).contiguous(), {}};
}

// The adapter's experts held here, on the rows that came for them: [R, out].
Tensor TokenExperts::grouped_results(const Tensor& x_RD, const LinearAdapter& adapter,
                                     const Tensor& gates_Re, const TokenIds& ids) const {
  const Tensor out_RO = at::zeros({x_RD.size(0), adapter.place.size.out}, x_RD.options());
  return apply_grouped_experts(
      out_RO, x_RD,
      {.lora_A = each_experts_A(adapter.lora_A, adapter.spec, adapter.place.experts.length),
       .lora_B = adapter.lora_B,
       .weights_TE = gates_Re,
       .rows = rows_by_gate(gates_Re),
       .scale = adapter.spec.scale,
       .dropout = token_dropout(adapter, pass_.context(), ids, {0, adapter.place.size.in})});
}

std::vector<Tensor> TokenExperts::results() {
  rows_.wait();
  const Tensor& x_RD = rows_.rows_RD;
  const Tensor gates_Re = exchange_gates();
  const TokenIds ids = exchange_ids();
  const auto is_grouped = [&](const LinearAdapter& adapter) {
    return pass_.expert_way(adapter.place.kind) == ExpertWay::kGrouped;
  };
  std::vector<ReadingAdapter> experts;
  for (const LinearAdapter* adapter : adapters_) {
    experts.push_back({adapter,
                       is_grouped(*adapter) ? Tensor() : adapter->lora_A,
                       {},
                       {0, x_RD.size(1)},
                       adapter->place.experts.length});
  }
  const InputReading reading = read_input(x_RD, {}, experts, pass_.context(), ids);
  std::vector<Tensor> by_linear;
  std::vector<int64_t> widths;
  int64_t gate = 0;
  for (size_t i = 0; i < adapters_.size(); ++i) {
    const LinearAdapter* adapter = adapters_[i];
    const int64_t num_held = adapter->place.experts.length;
    const Tensor own_gates_Re = gates_Re.slice(1, gate, gate + num_held);
    if (is_grouped(*adapter)) {
      by_linear.push_back(grouped_results(reading.x_TD, *adapter, own_gates_Re, ids));
    } else {
      const Tensor h_RR = apply_gates(reading.adapters[i].u_TR, own_gates_Re, adapter->spec);
      by_linear.push_back(at::mm(h_RR, adapter->lora_B.flatten(0, 1).to(h_RR.scalar_type())));
    }
    widths.push_back(adapter->place.size.out);
    gate += num_held;
  }
  Tensor results_RO = at::cat(by_linear, 1);
  if (MOLORA_MUTANT(kSkipEmptyExperts) && x_RD.size(0) == 0) results_RO = results_RO.detach();
  return combine(exchange_, results_RO).split_with_sizes(widths, 1);
}

}  // namespace molora
