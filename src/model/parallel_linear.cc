#include "model/parallel_linear.h"

#include <optional>

#include "base/check.h"
#include "base/mutation.h"
#include "model/bottleneck.h"
#include "model/dora.h"
#include "model/head_experts.h"
#include "model/rank_experts.h"
#include "model/replicated_tokens.h"
#include "model/router.h"
#include "model/sequence_experts.h"
#include "model/token_experts.h"
#include "parallel/expert_gather.h"
#include "parallel/regions.h"

namespace molora {

namespace {

bool is_dispatched(const LinearAdapter* adapter) {
  return adapter != nullptr && adapter->place.mode == ExchangeMode::kTokens;
}

// Computed beside the base, on this rank's own tokens or columns.
bool is_local(const LinearAdapter* adapter) {
  return adapter != nullptr && adapter->place.mode != ExchangeMode::kTokens &&
         !has_heads(adapter->spec);
}

// Of these heads' tokens, each of which one tp rank alone routes.
RoutingContext head_routing(const ForwardPass& pass) {
  return routing_of(pass.context(), token_ids(pass.context().batch));
}

// Adds what the heads of this rank's outputs make of the input.
Tensor add_column_heads(const Tensor& out_TO, const Tensor& x_TD, const LinearAdapter& adapter,
                        const ForwardPass& pass) {
  const LinearPlace& place = adapter.place;
  const auto inputs_of = [&](int64_t outputs) { return outputs * place.size.in / place.size.out; };
  const Slice columns = {inputs_of(place.outputs.begin), inputs_of(place.outputs.length)};
  return out_TO + head_experts(x_TD.slice(1, columns.begin, columns.end()), adapter, pass.context(),
                               head_routing(pass), columns);
}

// The outputs of the heads whose inputs this rank has; the others are other ranks' part of the sum.
Tensor add_row_heads(const Tensor& partial_TO, const Tensor& x_Td, const LinearAdapter& adapter,
                     const ForwardPass& pass) {
  const LinearPlace& place = adapter.place;
  const auto outputs_of = [&](int64_t inputs) { return inputs * place.size.out / place.size.in; };
  const Tensor delta_To =
      head_experts(x_Td, adapter, pass.context(), head_routing(pass), place.inputs);
  return partial_TO +
         at::constant_pad_nd(delta_To, {outputs_of(place.inputs.begin),
                                        place.size.out - outputs_of(place.inputs.end())});
}

// The ranks that have the other columns of a row-parallel linear's weight.
Communicator* split_inputs(const ForwardPass& pass) {
  return pass.tp().size() > 1 ? &pass.tp() : nullptr;
}

// DoRA scales the output before the bias joins.
FrozenLinear without_bias_of_dora(const FrozenLinear& base, const LinearAdapter* adapter) {
  FrozenLinear used = base;
  if (adapter != nullptr && adapter->spec.is_dora) used.bias_O.reset();
  return used;
}

// Whether this rank computes the adapter's experts each on its own tokens alone.
bool is_grouped(const LinearAdapter& adapter, const ForwardPass& pass) {
  if (adapter.place.mode == ExchangeMode::kRank && pass.has_fixed_shapes()) return false;
  // Without as many values for each token, sequence parallelism cannot send them.
  if (adapter.spec.has_open_choice() && pass.is_sequence_split()) return false;
  return is_local(&adapter) && adapter.spec.has_router() &&
         pass.expert_way(adapter.place.kind) == ExpertWay::kGrouped;
}

struct GroupedAdapter {
  const LinearAdapter& adapter;
  const UsedExperts& used;
  const AdapterReading& reading;
};

}  // namespace

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
  if (adapter.spec.has_shared_A) {
    const Slice& inputs = adapter.place.inputs;
    return {adapter.lora_A.slice(2, inputs.begin, inputs.end()),
            gather_experts(pass.ep(), adapter.lora_B, is_column ? split : all_outputs, type)};
  }
  return {gather_experts(pass.ep(), adapter.lora_A, is_column ? all_inputs : split, type),
          gather_experts(pass.ep(), adapter.lora_B, is_column ? split : all_outputs, type)};
}

namespace {

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

// An adapter of this rank that reads the base's own input.
ReadingAdapter reading_adapter(const LinearAdapter& adapter, const UsedExperts& used,
                               const ForwardPass& pass) {
  const bool is_of_held =
      adapter.place.mode == ExchangeMode::kRank && is_column_parallel(adapter.place.kind);
  return {&adapter, is_grouped(adapter, pass) ? Tensor() : used.lora_A, adapter.router_weight,
          adapter.place.inputs,
          is_of_held ? adapter.place.experts.length : adapter.spec.num_experts};
}

// The experts' results added to out_TO in place. x: the base's input, of the same tokens.
Tensor add_grouped(const Tensor& out_TO, const Tensor& x, const GroupedAdapter& of,
                   const Routing& routing, const ForwardPass& pass) {
  const LinearAdapter& adapter = of.adapter;
  const ForwardContext& context = pass.context();
  return apply_grouped_experts(
      out_TO, x,
      {.lora_A = each_experts_A(of.used.lora_A, adapter.spec, adapter.spec.num_experts),
       .lora_B = of.used.lora_B,
       .weights_TE = routing.weights_TE,
       .rows = rows_by_expert(routing.chosen_TK, adapter.spec.num_experts),
       .scale = adapter.spec.scale,
       .dropout = token_dropout(adapter, context, token_ids(context.batch), adapter.place.inputs)});
}

// Whether the adapter reads all tokens; else, with sequence parallelism, this rank's.
bool reads_all_tokens(const LinearAdapter& adapter, const ForwardPass& pass) {
  return adapter.place.mode == ExchangeMode::kRank || !pass.is_sequence_split();
}

Routing column_routing(const AdapterReading& reading, const LinearAdapter& adapter,
                       const ForwardPass& pass) {
  return route_product(reading.router_TZ, adapter,
                       pass.is_sequence_split() ? own_routing(pass) : counted_once(pass));
}

// h of a column-parallel adapter: [all tokens, E * r].
Tensor column_bottleneck(const AdapterReading& reading, const LinearAdapter& adapter,
                         const ForwardPass& pass) {
  if (adapter.place.mode == ExchangeMode::kRank) {
    return rank_column_bottleneck(reading, adapter, pass);
  }
  Tensor weights_TE;
  if (adapter.spec.has_router()) weights_TE = column_routing(reading, adapter, pass).weights_TE;
  Tensor h_TR = apply_gates(reading.u_TR, weights_TE, adapter.spec);
  if (!pass.is_sequence_split()) return h_TR;
  return MOLORA_MUTANT(kBottleneckOwnTokensOnly) ? padded_to_all(h_TR, pass)
                                                 : gather_rows(pass.tp(), h_TR, pass.token_rows());
}

// h of a row-parallel adapter, a partial sum in every mode but `rank`: [all tokens, E * r].
Tensor row_bottleneck(const AdapterReading& reading, const LinearAdapter& adapter,
                      const ForwardPass& pass) {
  if (adapter.place.mode == ExchangeMode::kRank) return rank_row_bottleneck(reading, adapter, pass);
  Tensor weights_TE;
  if (adapter.spec.has_router())
    weights_TE = row_routing(reading.router_TZ, adapter, pass).weights_TE;
  return apply_gates(reading.u_TR, weights_TE, adapter.spec);
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

Tensor add_grouped_column(const Tensor& out_TO, const ColumnInput& input, const GroupedAdapter& of,
                          const ForwardPass& pass) {
  if (of.adapter.place.mode == ExchangeMode::kRank) {
    return add_rank_column(out_TO, input.all_TD, of.reading, of.adapter, pass);
  }
  if (pass.is_sequence_split()) {
    return add_sequence_experts(
        out_TO, input.own_tD,
        {of.adapter, each_experts_A(of.used.lora_A, of.adapter.spec, of.adapter.spec.num_experts),
         of.used.lora_B, of.reading},
        pass);
  }
  return add_grouped(out_TO, input.all_TD, of, column_routing(of.reading, of.adapter, pass), pass);
}

Tensor add_grouped_row(const Tensor& partial_TO, const Tensor& x_Td, const GroupedAdapter& of,
                       const ForwardPass& pass) {
  if (of.adapter.place.mode == ExchangeMode::kRank) {
    return add_rank_row(partial_TO, x_Td, of.reading, of.adapter, pass);
  }
  return add_grouped(partial_TO, x_Td, of, row_routing(of.reading.router_TZ, of.adapter, pass),
                     pass);
}

ColumnLayout columns_of(const LinearAdapter& adapter, const ForwardPass& pass) {
  const LinearPlace& place = adapter.place;
  return {place.splits, pass.token_rows(),
          is_column_parallel(place.kind) ? place.size.out : place.size.in};
}

// The base's outputs of a group and what its local adapters make of the input, by linear.
InputReading read_column_input(const ColumnInput& input, std::span<const SplitLinear> linears,
                               const std::vector<UsedExperts>& used, const ForwardPass& pass) {
  const ForwardContext& context = pass.context();
  std::vector<FrozenLinear> frozen;
  std::vector<ReadingAdapter> of_all;
  std::vector<ReadingAdapter> of_own;
  for (size_t i = 0; i < linears.size(); ++i) {
    const LinearAdapter* adapter = linears[i].adapter;
    frozen.push_back(without_bias_of_dora(*linears[i].base, adapter));
    if (!is_local(adapter)) continue;
    (reads_all_tokens(*adapter, pass) ? of_all : of_own)
        .push_back(reading_adapter(*adapter, used[i], pass));
  }
  InputReading all = read_input(input.all_TD, frozen, of_all, context, token_ids(context.batch));
  InputReading own;
  if (!of_own.empty()) {
    own = read_input(input.state_TD, {}, of_own, context,
                     token_ids(context.batch, pass.own_tokens()));
  }
  InputReading result{std::move(all.outputs_TO), {}, std::move(all.x_TD)};
  auto next_all = all.adapters.begin();
  auto next_own = own.adapters.begin();
  for (const SplitLinear& linear : linears) {
    AdapterReading reading;
    if (is_local(linear.adapter)) {
      reading = reads_all_tokens(*linear.adapter, pass) ? *next_all++ : *next_own++;
    }
    result.adapters.push_back(reading);
  }
  return result;
}

}  // namespace

std::vector<Tensor> column_linears(const Tensor& x, std::span<const SplitLinear> linears,
                                   const ForwardPass& pass) {
  ColumnInput input = enter(x, pass);
  std::vector<const LinearAdapter*> dispatched;
  std::vector<UsedExperts> used;
  for (const SplitLinear& linear : linears) {
    if (is_dispatched(linear.adapter)) dispatched.push_back(linear.adapter);
    used.push_back(is_local(linear.adapter)
                       ? used_experts(*linear.adapter, input.all_TD.scalar_type(), pass)
                       : UsedExperts{});
  }
  std::optional<TokenExperts> away;
  if (!dispatched.empty()) away.emplace(input.own_tD, dispatched, pass);

  InputReading reading = read_column_input(input, linears, used, pass);
  input.all_TD = reading.x_TD;
  std::vector<Tensor>& outputs = reading.outputs_TO;
  for (size_t i = 0; i < linears.size(); ++i) {
    if (linears[i].adapter != nullptr && has_heads(linears[i].adapter->spec)) {
      outputs[i] = add_column_heads(outputs[i], input.all_TD, *linears[i].adapter, pass);
    }
    if (!is_local(linears[i].adapter)) continue;
    const LinearAdapter& adapter = *linears[i].adapter;
    if (is_grouped(adapter, pass)) {
      outputs[i] =
          add_grouped_column(outputs[i], input, {adapter, used[i], reading.adapters[i]}, pass);
    } else {
      const Tensor h_TR = column_bottleneck(reading.adapters[i], adapter, pass);
      outputs[i] = add_up(outputs[i], h_TR, used[i].lora_B);
    }
    if (adapter.spec.is_dora) {
      outputs[i] = with_magnitude(outputs[i], *linears[i].base, adapter, /*tp=*/nullptr);
    }
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
  const ForwardContext& context = pass.context();
  const LinearAdapter* adapter = linear.adapter;
  std::optional<TokenExperts> away;
  if (is_dispatched(adapter)) {
    away.emplace(columns_to_rows(pass.tp(), x_Td, columns_of(*adapter, pass)),
                 std::vector<const LinearAdapter*>{adapter}, pass);
  }
  FrozenLinear base = *linear.base;
  // The bias is whole on every rank and enters once.
  if (pass.tp().rank() != 0 && !MOLORA_MUTANT(kBiasOnEveryRank)) base.bias_O.reset();
  UsedExperts used;
  std::vector<ReadingAdapter> readers;
  if (is_local(adapter)) {
    used = used_experts(*adapter, x_Td.scalar_type(), pass);
    readers.push_back(reading_adapter(*adapter, used, pass));
  }
  const InputReading reading = read_input(x_Td, {without_bias_of_dora(base, adapter)}, readers,
                                          context, token_ids(context.batch));
  Tensor partial_TO = reading.outputs_TO.front();
  if (is_local(adapter) && is_grouped(*adapter, pass)) {
    partial_TO =
        add_grouped_row(partial_TO, reading.x_TD, {*adapter, used, reading.adapters.front()}, pass);
  } else if (is_local(adapter)) {
    partial_TO =
        add_up(partial_TO, row_bottleneck(reading.adapters.front(), *adapter, pass), used.lora_B);
  }
  if (adapter != nullptr && has_heads(adapter->spec)) {
    partial_TO = add_row_heads(partial_TO, reading.x_TD, *adapter, pass);
  }
  if (adapter != nullptr && adapter->spec.is_dora) {
    partial_TO = with_magnitude(partial_TO, base, *adapter, split_inputs(pass));
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
