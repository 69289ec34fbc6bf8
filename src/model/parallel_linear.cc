#include "model/parallel_linear.h"

#include <optional>

#include "base/check.h"
#include "base/mutation.h"
#include "model/bottleneck.h"
#include "model/rank_experts.h"
#include "model/replicated_tokens.h"
#include "model/router.h"
#include "model/token_experts.h"
#include "parallel/expert_gather.h"
#include "parallel/regions.h"

namespace molora {

namespace {

bool is_dispatched(const LinearAdapter* adapter) {
  return adapter != nullptr && adapter->place.mode == ExchangeMode::kTokens;
}

// A and B as this rank uses them: its own, or, in `gather` mode, those of all experts, cut to its
// slice of the linear.
struct UsedExperts {
  Tensor lora_A;  // [E, r, inputs]
  Tensor lora_B;  // [E, r, outputs]
};

UsedExperts used_experts(const LinearAdapter& adapter, at::ScalarType type,
                         const ForwardPass& pass) {
  if (adapter.place.mode != ExchangeMode::kGather) return {adapter.lora_A, adapter.lora_B};
  // The ep group may lie across tp groups: each member uses the slice of its own tp rank.
  std::vector<Slice> split;
  const int ep = pass.mesh().shape().ep;
  const int first = pass.mesh().world_rank() / ep * ep;
  for (int member = 0; member < ep; ++member) {
    const int user = MOLORA_MUTANT(kExpertSplitOfThisRank) ? pass.ep().rank() : member;
    split.push_back(adapter.place.splits[static_cast<size_t>((first + user) % pass.tp().size())]);
  }
  const bool is_column = is_column_parallel(adapter.place.kind);
  const auto members = static_cast<size_t>(ep);
  const std::vector<Slice> all_inputs(members, Slice{0, adapter.place.size.in});
  const std::vector<Slice> all_outputs(members, Slice{0, adapter.place.size.out});
  return {gather_experts(pass.ep(), adapter.lora_A, is_column ? all_inputs : split, type),
          gather_experts(pass.ep(), adapter.lora_B, is_column ? split : all_outputs, type)};
}

// The tokens of this rank out of all of them.
Tensor own_rows(const Tensor& x_TD, const ForwardPass& pass) {
  if (pass.tp().size() == 1) return x_TD;
  return x_TD.slice(0, pass.own_tokens().begin, pass.own_tokens().end());
}

// delta_tO: the own tokens' part. Returns [all tokens, width], zero for the others.
Tensor padded_to_all(const Tensor& delta_tO, const ForwardPass& pass) {
  if (pass.tp().size() == 1) return delta_tO;
  const Slice& own = pass.own_tokens();
  const int64_t width = delta_tO.size(1);
  return at::cat({at::zeros({own.begin, width}, delta_tO.options()), delta_tO,
                  at::zeros({pass.num_tokens() - own.end(), width}, delta_tO.options())},
                 0);
}

// h of a column-parallel adapter whose A is whole here: [all tokens, E * r]. x: the state between
// linears, inside the border.
Tensor column_bottleneck(const Tensor& x, const Tensor& lora_A, const LinearAdapter& adapter,
                         const ForwardPass& pass) {
  const ForwardContext& context = pass.context();
  const bool is_split = pass.is_sequence_split();
  const TokenIds ids =
      is_split ? token_ids(context.batch, pass.own_tokens()) : token_ids(context.batch);
  const Tensor u_TR = project_down(x, lora_A, adapter, context, ids, adapter.place.inputs);
  Tensor weights_TE;
  if (adapter.spec.has_router()) {
    weights_TE = route(x, adapter, is_split ? context.routing : counted_once(pass)).weights_TE;
  }
  Tensor h_TR = apply_gates(u_TR, weights_TE, adapter.spec);
  if (!is_split) return h_TR;
  return MOLORA_MUTANT(kBottleneckOwnTokensOnly) ? padded_to_all(h_TR, pass)
                                                 : gather_rows(pass.tp(), h_TR, pass.token_rows());
}

// h of a row-parallel adapter whose B is whole here, a partial sum: [all tokens, E * r].
Tensor row_bottleneck(const Tensor& x_Td, const Tensor& lora_A, const LinearAdapter& adapter,
                      const ForwardPass& pass) {
  const ForwardContext& context = pass.context();
  const Tensor u_TR =
      project_down(x_Td, lora_A, adapter, context, token_ids(context.batch), adapter.place.inputs);
  Tensor weights_TE;
  if (adapter.spec.has_router()) {
    weights_TE = route_split_columns(x_Td, adapter, statistics_once(pass), pass.tp()).weights_TE;
  }
  return apply_gates(u_TR, weights_TE, adapter.spec);
}

// The state between linears as the base reads it (all tokens) and as adapters read it.
struct ColumnInput {
  Tensor all_TD;    // inside the border
  Tensor state_TD;  // [T, D] inside the border, or [t, D] before it
  Tensor own_tD;    // this rank's tokens
};

ColumnInput enter(const Tensor& x, const ForwardPass& pass) {
  if (pass.is_sequence_split()) {
    return {MOLORA_MUTANT(kColumnBorderDropped) ? padded_to_all(x, pass)
                                                : gather_rows(pass.tp(), x, pass.token_rows()),
            x, x};
  }
  const Tensor all_TD = MOLORA_MUTANT(kColumnBorderDropped) ? x : copy_to(pass.tp(), x);
  return {all_TD, all_TD, own_rows(all_TD, pass)};
}

Tensor add_column_adapter(const Tensor& out_TO, const ColumnInput& input,
                          const LinearAdapter& adapter, const ForwardPass& pass) {
  if (adapter.place.mode == ExchangeMode::kRank) {
    return add_up(out_TO, rank_column_bottleneck(input.all_TD, adapter, pass), adapter.lora_B);
  }
  const UsedExperts used = used_experts(adapter, out_TO.scalar_type(), pass);
  return add_up(out_TO, column_bottleneck(input.state_TD, used.lora_A, adapter, pass), used.lora_B);
}

ColumnLayout columns_of(const LinearAdapter& adapter, const ForwardPass& pass) {
  const LinearPlace& place = adapter.place;
  return {place.splits, pass.token_rows(),
          is_column_parallel(place.kind) ? place.size.out : place.size.in};
}

}  // namespace

std::vector<Tensor> column_linears(const Tensor& x, std::span<const SplitLinear> linears,
                                   const ForwardPass& pass) {
  const ColumnInput input = enter(x, pass);
  std::vector<const LinearAdapter*> dispatched;
  for (const SplitLinear& linear : linears) {
    if (is_dispatched(linear.adapter)) dispatched.push_back(linear.adapter);
  }
  std::optional<TokenExperts> away;
  if (!dispatched.empty()) away.emplace(input.own_tD, dispatched, pass);

  std::vector<Tensor> outputs;
  for (const SplitLinear& linear : linears) {
    outputs.push_back(at::linear(input.all_TD, linear.base->weight_OD, linear.base->bias_O));
  }
  for (size_t i = 0; i < linears.size(); ++i) {
    if (linears[i].adapter == nullptr || is_dispatched(linears[i].adapter)) continue;
    outputs[i] = add_column_adapter(outputs[i], input, *linears[i].adapter, pass);
  }
  if (!away) return outputs;
  const std::vector<Tensor> results = away->results();
  size_t next = 0;
  for (size_t i = 0; i < linears.size(); ++i) {
    if (!is_dispatched(linears[i].adapter)) continue;
    outputs[i] = outputs[i] +
                 rows_to_columns(pass.tp(), results[next++], columns_of(*linears[i].adapter, pass));
  }
  return outputs;
}

Tensor row_linear(const Tensor& x_Td, const SplitLinear& linear, const ForwardPass& pass) {
  const LinearAdapter* adapter = linear.adapter;
  std::optional<TokenExperts> away;
  if (is_dispatched(adapter)) {
    away.emplace(columns_to_rows(pass.tp(), x_Td, columns_of(*adapter, pass)),
                 std::vector<const LinearAdapter*>{adapter}, pass);
  }
  // The bias is whole on every rank and enters once.
  const bool adds_bias = pass.tp().rank() == 0 || MOLORA_MUTANT(kBiasOnEveryRank);
  Tensor partial_TO =
      at::linear(x_Td, linear.base->weight_OD, adds_bias ? linear.base->bias_O : Tensor());
  if (adapter != nullptr && !away) {
    if (adapter->place.mode == ExchangeMode::kRank) {
      partial_TO = add_up(partial_TO, rank_row_bottleneck(x_Td, *adapter, pass), adapter->lora_B);
    } else {
      const UsedExperts used = used_experts(*adapter, x_Td.scalar_type(), pass);
      partial_TO =
          add_up(partial_TO, row_bottleneck(x_Td, used.lora_A, *adapter, pass), used.lora_B);
    }
  }
  if (pass.is_sequence_split()) {
    const Tensor out_tO = MOLORA_MUTANT(kRowBorderDropped)
                              ? own_rows(partial_TO, pass)
                              : scatter_rows(pass.tp(), partial_TO, pass.token_rows());
    return away ? out_tO + away->results().front() : out_tO;
  }
  if (away) partial_TO = partial_TO + padded_to_all(away->results().front(), pass);
  return MOLORA_MUTANT(kRowBorderDropped) ? partial_TO : reduce_from(pass.tp(), partial_TO);
}

}  // namespace molora
