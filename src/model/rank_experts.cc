#include "model/rank_experts.h"

#include <vector>

#include "base/mutation.h"
#include "model/replicated_tokens.h"
#include "model/router.h"
#include "parallel/regions.h"

namespace molora {

namespace {

// The chosen (token, expert) pairs in the order in which their rows travel: by owner, token,
// expert.
struct ChosenPairs {
  Tensor all;                 // index of each pair in [tokens, E] flattened
  Tensor own;                 // index of each pair of this rank in [tokens, E / tp] flattened
  std::vector<int64_t> rows;  // pairs by owner
  Slice held;                 // which of `all` are those of this rank
};

ChosenPairs chosen_pairs(const Routing& routing, Communicator& tp) {
  const int64_t num_ranks = tp.size();
  const Tensor chosen_PTe = routing.chosen_TE().unflatten(1, {num_ranks, -1}).transpose(0, 1);
  const int64_t num_experts = routing.weights_TE.size(1);
  const int64_t held = num_experts / num_ranks;
  const Tensor pairs = chosen_PTe.nonzero();  // [pairs, 3]: owner, token, expert of the owner
  const Tensor owner = pairs.select(1, 0);
  const Tensor token = pairs.select(1, 1);
  const Tensor expert = pairs.select(1, 2);
  ChosenPairs result;
  result.all = token * num_experts + owner * held + expert;
  const Tensor counts = chosen_PTe.sum({1, 2}, /*keepdim=*/false, at::kLong);
  int64_t begin = 0;
  for (int64_t rank = 0; rank < num_ranks; ++rank) {
    const auto count = counts[rank].item<int64_t>();
    if (rank == tp.rank()) {
      result.held = {begin, count};
      result.own = (token * held + expert).slice(0, begin, begin + count);
    }
    result.rows.push_back(count);
    begin += count;
  }
  return result;
}

// [tokens, experts * r] -> the r values of these pairs, [pairs, r].
Tensor take_pairs(const Tensor& values_TR, const Tensor& pairs, int64_t lora_rank) {
  return values_TR.view({-1, lora_rank}).index_select(0, pairs);
}

// The reverse, 0 elsewhere.
Tensor place_pairs(const Tensor& values, const Tensor& pairs, int64_t num_tokens,
                   int64_t num_experts) {
  const int64_t lora_rank = values.size(1);
  return at::zeros({num_tokens * num_experts, lora_rank}, values.options())
      .index_copy(0, pairs, values)
      .view({num_tokens, num_experts * lora_rank});
}

// Choices as places among some experts, and whether they are of those.
struct LocalChoices {
  Tensor place_TK;    // [tokens, k] int64
  Tensor is_held_TK;  // [tokens, k] bool

  LocalChoices(const Tensor& chosen_TK, const Slice& held)
      : place_TK(chosen_TK - held.begin),
        is_held_TK((place_TK >= 0).logical_and(place_TK < held.length)) {}

  // The place, or `elsewhere`, of each of r values: [tokens, k, r].
  Tensor index_TKr(int64_t elsewhere, int64_t lora_rank) const {
    return at::where(is_held_TK, place_TK, elsewhere).unsqueeze(2).expand({-1, -1, lora_rank});
  }
};

// [tokens, experts of `held` * r] -> the values of each token's k choices, zero for experts that
// are not held: [tokens, k, r].
Tensor take_slots(const Tensor& values_TR, const Tensor& chosen_TK, const Slice& held,
                  int64_t lora_rank) {
  const LocalChoices local(chosen_TK, held);
  const Tensor taken_TKr =
      values_TR.view({-1, held.length, lora_rank}).gather(1, local.index_TKr(0, lora_rank));
  return taken_TKr.masked_fill(local.is_held_TK.logical_not().unsqueeze(2), 0.0);
}

// The reverse for experts of `held`, 0 where a token has not chosen one.
Tensor place_slots(const Tensor& slots_TKr, const Tensor& chosen_TK, const Slice& held) {
  const int64_t num_tokens = slots_TKr.size(0);
  const int64_t lora_rank = slots_TKr.size(2);
  // Slots of other ranks' experts go to a place behind the last, which is cut off.
  const Tensor index_TKr = LocalChoices(chosen_TK, held).index_TKr(held.length, lora_rank);
  return at::zeros({num_tokens, held.length + 1, lora_rank}, slots_TKr.options())
      .scatter(1, index_TKr, slots_TKr)
      .slice(1, 0, held.length)
      .reshape({num_tokens, held.length * lora_rank});
}

// Every slot's value is that of one rank; what is made of it is each rank's own part.
Tensor sum_slots(const Tensor& slots_TKr, Communicator& tp) {
  const Tensor sum = MOLORA_MUTANT(kSlotsNotSummed) ? slots_TKr : reduce_from(tp, slots_TKr);
  return MOLORA_MUTANT(kSlotGradientsNotSummed) ? sum : copy_to(tp, sum);
}

Tensor weights_held(const Routing& routing, const LinearAdapter& adapter) {
  const Slice& held = adapter.place.experts;
  return routing.weights_TE.slice(1, held.begin, held.end());
}

// Rows of all pairs, in the order in which they travel, from those of this rank's.
Tensor gather_pairs(const Tensor& own_rows, const ChosenPairs& pairs, Communicator& tp) {
  Tensor rows = gather_rows(tp, own_rows, pairs.rows);
  if (!MOLORA_MUTANT(kBottleneckOwnOnly)) return rows;
  const Tensor mask = at::zeros({rows.size(0), 1}, rows.options());
  mask.slice(0, pairs.held.begin, pairs.held.end()).fill_(1);
  return rows * mask;
}

// This rank's pairs of the sum of all ranks' rows of all pairs.
Tensor scatter_pairs(const Tensor& partial, const ChosenPairs& pairs, Communicator& tp) {
  return MOLORA_MUTANT(kBottleneckPartial) ? partial.slice(0, pairs.held.begin, pairs.held.end())
                                           : scatter_rows(tp, partial, pairs.rows);
}

// The pairs of this rank's experts.
ExpertRows held_rows(const Routing& routing, const LinearAdapter& adapter) {
  return rows_by_held_expert(routing.chosen_TK, adapter.place.experts.begin,
                             adapter.place.experts.length);
}

}  // namespace

Tensor rank_column_bottleneck(const AdapterReading& reading, const LinearAdapter& adapter,
                              const ForwardPass& pass) {
  const AdapterSpec& spec = adapter.spec;
  const Routing routing = route_product(reading.router_TZ, adapter, counted_once(pass));
  const Tensor h_TR = apply_gates(reading.u_TR, weights_held(routing, adapter), spec);
  if (pass.has_fixed_shapes()) {
    const Tensor own_TKr =
        take_slots(h_TR, routing.chosen_TK, adapter.place.experts, spec.lora_rank);
    return place_slots(sum_slots(own_TKr, pass.tp()), routing.chosen_TK, {0, spec.num_experts});
  }
  const ChosenPairs pairs = chosen_pairs(routing, pass.tp());
  const Tensor rows = gather_pairs(take_pairs(h_TR, pairs.own, spec.lora_rank), pairs, pass.tp());
  return place_pairs(rows, pairs.all, h_TR.size(0), spec.num_experts);
}

Tensor rank_row_bottleneck(const AdapterReading& reading, const LinearAdapter& adapter,
                           const ForwardPass& pass) {
  const AdapterSpec& spec = adapter.spec;
  const Routing routing = row_routing(reading.router_TZ, adapter, pass);
  const Tensor& partial_TR = reading.u_TR;
  if (pass.has_fixed_shapes()) {
    const Tensor partial_TKr =
        take_slots(partial_TR, routing.chosen_TK, {0, spec.num_experts}, spec.lora_rank);
    const Tensor u_TR =
        place_slots(sum_slots(partial_TKr, pass.tp()), routing.chosen_TK, adapter.place.experts);
    return apply_gates(u_TR, weights_held(routing, adapter), spec);
  }
  const ChosenPairs pairs = chosen_pairs(routing, pass.tp());
  const Tensor rows =
      scatter_pairs(take_pairs(partial_TR, pairs.all, spec.lora_rank), pairs, pass.tp());
  const Tensor u_TR =
      place_pairs(rows, pairs.own, partial_TR.size(0), adapter.place.experts.length);
  return apply_gates(u_TR, weights_held(routing, adapter), spec);
}

Tensor add_rank_column(const Tensor& out_TO, const Tensor& x_TD, const AdapterReading& reading,
                       const LinearAdapter& adapter, const ForwardPass& pass) {
  const ForwardContext& context = pass.context();
  const int64_t tokens = x_TD.size(0);
  const Routing routing = route_product(reading.router_TZ, adapter, counted_once(pass));
  const ChosenPairs pairs = chosen_pairs(routing, pass.tp());
  const ExpertRows own = held_rows(routing, adapter);
  const Tensor u_Pr = project_pairs(
      x_TD, each_experts_A(adapter.lora_A, adapter.spec, own.num_experts()), own,
      token_dropout(adapter, context, token_ids(context.batch), adapter.place.inputs));
  const Tensor h_Pr =
      gate_pairs(u_Pr, weights_held(routing, adapter), own, adapter.spec.scale)
          .to(x_TD.scalar_type())
          .index_select(0, places_of_slots(pairs.own, own.slots_P, tokens * own.num_experts()));
  const ExpertRows all = rows_by_expert(routing.chosen_TK, adapter.spec.num_experts);
  const Tensor all_Pr =
      gather_pairs(h_Pr, pairs, pass.tp())
          .index_select(0, places_of_slots(all.slots_P, pairs.all, tokens * all.num_experts()));
  return expand_pairs(out_TO, all_Pr, adapter.lora_B, all);
}

Tensor add_rank_row(const Tensor& partial_TO, const Tensor& x_Td, const AdapterReading& reading,
                    const LinearAdapter& adapter, const ForwardPass& pass) {
  const ForwardContext& context = pass.context();
  const int64_t tokens = x_Td.size(0);
  const Routing routing = row_routing(reading.router_TZ, adapter, pass);
  const ChosenPairs pairs = chosen_pairs(routing, pass.tp());
  const ExpertRows all = rows_by_expert(routing.chosen_TK, adapter.spec.num_experts);
  const Tensor partial_Pr =
      project_pairs(x_Td, each_experts_A(adapter.lora_A, adapter.spec, all.num_experts()), all,
                    token_dropout(adapter, context, token_ids(context.batch), adapter.place.inputs))
          .to(x_Td.scalar_type())
          .index_select(0, places_of_slots(pairs.all, all.slots_P, tokens * all.num_experts()));
  const ExpertRows own = held_rows(routing, adapter);
  const Tensor u_Pr =
      scatter_pairs(partial_Pr, pairs, pass.tp())
          .index_select(0, places_of_slots(own.slots_P, pairs.own, tokens * own.num_experts()));
  const Tensor h_Pr = gate_pairs(u_Pr, weights_held(routing, adapter), own, adapter.spec.scale);
  return expand_pairs(partial_TO, h_Pr, adapter.lora_B, own);
}

}  // namespace molora
