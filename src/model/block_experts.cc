#include "model/block_experts.h"

#include "base/check.h"
#include "base/mutation.h"
#include "kernels/swiglu.h"
#include "model/bottleneck.h"
#include "model/input_products.h"
#include "model/recompute.h"
#include "model/replicated_tokens.h"
#include "model/router.h"
#include "parallel/regions.h"

namespace molora {

namespace {

bool is_of_block(const LinearAdapter* adapter) {
  return adapter != nullptr && adapter->spec.is_of_block();
}

// The adapter that keeps the router.
const LinearAdapter& router_of(const BlockLinears& linears) {
  for (const SplitLinear* linear : {&linears.gate, &linears.up, &linears.down}) {
    if (linear->adapter != nullptr && linear->adapter->spec.has_router()) return *linear->adapter;
  }
  MOLORA_CHECK(false, "experts of a whole MLP without a router");
  return *linears.gate.adapter;
}

// A linear's experts as this rank computes them.
struct BlockExperts {
  const LinearAdapter& adapter;
  Tensor lora_A;  // [E, r, inputs]
  Tensor lora_B;  // [E, r, outputs]

  BlockExperts(const LinearAdapter& of, at::ScalarType type, const ForwardPass& pass)
      : adapter(of) {
    MOLORA_CHECK(
        of.place.mode == ExchangeMode::kReplicate || of.place.mode == ExchangeMode::kGather,
        "{}: experts of a whole MLP in {} exchange", of.path, exchange_mode_name(of.place.mode));
    const UsedExperts used = used_experts(of, type, pass);
    lora_A = each_experts_A(used.lora_A, of.spec, of.spec.num_experts);
    lora_B = used.lora_B;
  }
  const AdapterSpec& spec() const { return adapter.spec; }
};

bool is_grouped(const BlockLinears& linears, const Tensor& x, const ForwardPass& pass) {
  return x.is_cpu() && pass.expert_way(router_of(linears).place.kind) == ExpertWay::kGrouped;
}

// All tokens, inside the border.
Tensor enter(const Tensor& x, const ForwardPass& pass) {
  if (!pass.is_sequence_split()) {
    return MOLORA_MUTANT(kBlockInputPartial) ? x : copy_to(pass.tp(), x);
  }
  const Tensor all_TD = gather_rows(pass.tp(), x, pass.token_rows());
  return MOLORA_MUTANT(kBlockTokensReversed) ? all_TD.flip(0) : all_TD;
}

Tensor leave(const Tensor& partial_TD, const ForwardPass& pass) {
  if (!pass.is_sequence_split()) {
    return MOLORA_MUTANT(kBlockOutputPartial) ? partial_TD : reduce_from(pass.tp(), partial_TD);
  }
  if (MOLORA_MUTANT(kBlockOutputPartial)) {
    return partial_TD.slice(0, pass.own_tokens().begin, pass.own_tokens().end());
  }
  return scatter_rows(pass.tp(), partial_TD, pass.token_rows());
}

Tensor activation(const Tensor& gate, const Tensor& up, const ForwardContext& context) {
  return recompute_where_selective(
      context.recompute, {gate, up},
      [](const std::vector<Tensor>& in) { return swiglu(in[0], in[1]); });
}

// ---- grouped

// Pairs as rows of their own: each reads the row of its number.
ExpertRows rows_of_pairs(const ExpertRows& rows) {
  return {at::arange(rows.num_pairs(), at::kLong), rows.slots_P, rows.begins};
}

TokenIds ids_of_pairs(const TokenIds& ids, const TokenPairs& pairs) {
  const auto of = [&](const Tensor& x_T) {
    return x_T.defined() ? x_T.index_select(0, pairs.tokens_P) : x_T;
  };
  return {of(ids.samples_T), of(ids.positions_T), of(ids.tasks_T)};
}

// W x + s B_e A_e x of each pair: [pairs, F]. base_TF: W x of each token.
Tensor pair_products(const Tensor& base_TF, const Tensor& x_TD, const SplitLinear& linear,
                     const BlockStates& states, const ForwardPass& pass) {
  Tensor base_PF = spread_to_pairs(base_TF, states.pairs);
  if (!is_of_block(linear.adapter)) return base_PF;
  const BlockExperts experts(*linear.adapter, x_TD.scalar_type(), pass);
  const ForwardContext& context = pass.context();
  const Tensor u_Pr =
      project_pairs(x_TD, experts.lora_A, states.rows,
                    token_dropout(experts.adapter, context, token_ids(context.batch),
                                  experts.adapter.place.inputs));
  return expand_pairs(base_PF, u_Pr * experts.spec().scale, experts.lora_B,
                      rows_of_pairs(states.rows));
}

// The low-rank part of down added to out_TD in place.
Tensor add_pairs_down(const Tensor& out_TD, const BlockStates& states, const BlockExperts& experts,
                      const ForwardPass& pass) {
  const ForwardContext& context = pass.context();
  const TokenIds ids = ids_of_pairs(token_ids(context.batch), states.pairs);
  const Tensor u_Pr =
      project_pairs(states.h_PF, experts.lora_A, rows_of_pairs(states.rows),
                    token_dropout(experts.adapter, context, ids, experts.adapter.place.inputs));
  return expand_pairs(out_TD,
                      gate_pairs(u_Pr, states.weights_TE, states.rows, experts.spec().scale),
                      experts.lora_B, states.rows);
}

Tensor mixed_pairs(const BlockStates& states) {
  const Tensor weights_P = states.weights_TE.reshape({-1}).index_select(0, states.rows.slots_P);
  return sum_over_pairs(states.h_PF, weights_P, states.pairs);
}

// ---- dense

// W x + s B_e A_e x of every token, by expert.
std::vector<Tensor> dense_products(const Tensor& base_TF, const Tensor& x_TD,
                                   const SplitLinear& linear, int64_t num_experts,
                                   const ForwardPass& pass) {
  std::vector<Tensor> of_experts(static_cast<size_t>(num_experts), base_TF);
  if (!is_of_block(linear.adapter)) return of_experts;
  const BlockExperts experts(*linear.adapter, x_TD.scalar_type(), pass);
  const ForwardContext& context = pass.context();
  const Tensor u_TR = project_down(x_TD, experts.lora_A, experts.adapter, context,
                                   token_ids(context.batch), experts.adapter.place.inputs);
  const std::vector<Tensor> u_ETr = u_TR.split(experts.spec().lora_rank, 1);
  for (size_t e = 0; e < of_experts.size(); ++e) {
    const Tensor b_rF = experts.lora_B.select(0, static_cast<int64_t>(e)).to(u_TR.scalar_type());
    of_experts[e] = at::addmm(base_TF, u_ETr[e], b_rF, 1.0, experts.spec().scale);
  }
  return of_experts;
}

// The weights of one expert, [tokens, 1] in h's type.
Tensor weight_of(const BlockStates& states, size_t expert) {
  return states.weights_TE.select(1, static_cast<int64_t>(expert))
      .unsqueeze(1)
      .to(states.h_ETF[expert].scalar_type());
}

Tensor add_dense_down(Tensor out_TD, const BlockStates& states, const BlockExperts& experts,
                      const ForwardPass& pass) {
  const ForwardContext& context = pass.context();
  for (size_t e = 0; e < states.h_ETF.size(); ++e) {
    const auto expert = static_cast<int64_t>(e);
    const Tensor u_Tr =
        project_down(states.h_ETF[e], experts.lora_A.slice(0, expert, expert + 1), experts.adapter,
                     context, token_ids(context.batch), experts.adapter.place.inputs);
    const Tensor v_Tr = u_Tr * (weight_of(states, e) * experts.spec().scale);
    out_TD = at::addmm(out_TD, v_Tr, experts.lora_B.select(0, expert).to(v_Tr.scalar_type()));
  }
  return out_TD;
}

Tensor mixed_dense(const BlockStates& states) {
  Tensor mixed_TF = states.h_ETF.front() * weight_of(states, 0);
  for (size_t e = 1; e < states.h_ETF.size(); ++e) {
    mixed_TF = mixed_TF + states.h_ETF[e] * weight_of(states, e);
  }
  return mixed_TF;
}

}  // namespace

bool has_block_experts(const BlockLinears& linears) {
  return is_of_block(linears.gate.adapter) || is_of_block(linears.up.adapter) ||
         is_of_block(linears.down.adapter);
}

BlockStates block_states(const Tensor& x, const BlockLinears& linears, const ForwardPass& pass) {
  const LinearAdapter& owner = router_of(linears);
  const ForwardContext& context = pass.context();
  const InputProducts products =
      input_products(enter(x, pass), {*linears.gate.base, *linears.up.base}, {owner.router_weight});
  const Tensor& x_TD = products.x_TD;
  const Routing routing = route_product(products.trained_TR.front(), owner, counted_once(pass));
  const int64_t num_experts = owner.spec.num_experts;
  BlockStates states;
  states.weights_TE = routing.weights_TE;
  if (is_grouped(linears, x_TD, pass)) {
    states.rows = rows_by_expert(routing.chosen_TK, num_experts);
    states.pairs = pairs_of_tokens(states.rows, x_TD.size(0));
    states.h_PF =
        activation(pair_products(products.frozen_TO[0], x_TD, linears.gate, states, pass),
                   pair_products(products.frozen_TO[1], x_TD, linears.up, states, pass), context);
    return states;
  }
  const std::vector<Tensor> gate_ETF =
      dense_products(products.frozen_TO[0], x_TD, linears.gate, num_experts, pass);
  const std::vector<Tensor> up_ETF =
      dense_products(products.frozen_TO[1], x_TD, linears.up, num_experts, pass);
  for (size_t e = 0; e < gate_ETF.size(); ++e) {
    states.h_ETF.push_back(activation(gate_ETF[e], up_ETF[e], context));
  }
  return states;
}

Tensor block_output(const BlockStates& states, const SplitLinear& down, const ForwardPass& pass) {
  const bool is_in_pairs = states.h_ETF.empty();
  const Tensor mixed_TF = is_in_pairs ? mixed_pairs(states) : mixed_dense(states);
  FrozenLinear base = *down.base;
  base.bias_O.reset();
  Tensor partial_TD = input_products(mixed_TF, {base}, {}).frozen_TO.front();
  // The bias is whole on every rank and enters once.
  if (down.base->bias_O.defined() && pass.tp().rank() == 0) {
    const Tensor sum_T1 = states.weights_TE.sum(1, /*keepdim=*/true).to(mixed_TF.scalar_type());
    partial_TD = at::addcmul(partial_TD, sum_T1, down.base->bias_O);
  }
  if (is_of_block(down.adapter)) {
    const BlockExperts experts(*down.adapter, mixed_TF.scalar_type(), pass);
    partial_TD = is_in_pairs ? add_pairs_down(partial_TD, states, experts, pass)
                             : add_dense_down(partial_TD, states, experts, pass);
  }
  return leave(partial_TD, pass);
}

}  // namespace molora
