#include "model/sequence_experts.h"

#include "base/mutation.h"
#include "model/grouped_experts.h"
#include "model/replicated_tokens.h"
#include "parallel/regions.h"
#include "parallel/tensor_collectives.h"

namespace molora {

namespace {

// Slots (kernels/expert_rows.h) in the order of tokens and their choices: [tokens * k].
Tensor slots_by_token(const Tensor& chosen_TK, int64_t num_experts) {
  const Tensor first_T1 = at::arange(chosen_TK.size(0), chosen_TK.options()).unsqueeze(1);
  return (first_T1 * num_experts + chosen_TK).flatten();
}

// The choices of all tokens. They have no gradient.
Tensor gather_choices(const Tensor& chosen_tK, const ForwardPass& pass) {
  const Tensor all_TK = all_gather_rows(pass.tp(), chosen_tK, pass.token_rows());
  return MOLORA_MUTANT(kChoicesReversed) ? all_TK.flip(0).contiguous() : all_TK;
}

}  // namespace

Tensor add_sequence_experts(const Tensor& out_TO, const Tensor& x_tD, const SequenceExperts& of,
                            const ForwardPass& pass) {
  const AdapterSpec& spec = of.adapter.spec;
  const ForwardContext& context = pass.context();
  const Routing routing = route_product(of.reading.router_TZ, of.adapter, own_routing(pass));
  const ExpertRows own = rows_by_expert(routing.chosen_TK, spec.num_experts);
  const Tensor u_Pr =
      project_pairs(x_tD, of.lora_A, own,
                    token_dropout(of.adapter, context, token_ids(context.batch, pass.own_tokens()),
                                  of.adapter.place.inputs));
  // As many values for each token, whatever it chose.
  const Tensor h_tR =
      gate_pairs(u_Pr, routing.weights_TE, own, spec.scale)
          .to(x_tD.scalar_type())
          .index_select(0, places_of_slots(slots_by_token(routing.chosen_TK, spec.num_experts),
                                           own.slots_P, x_tD.size(0) * spec.num_experts))
          .view({x_tD.size(0), spec.experts_per_token * spec.lora_rank});
  const Tensor h_TR = gather_rows(pass.tp(), h_tR, pass.token_rows());
  const Tensor chosen_TK = gather_choices(routing.chosen_TK, pass);
  const ExpertRows all = rows_by_expert(chosen_TK, spec.num_experts);
  const Tensor h_Pr =
      h_TR.view({-1, spec.lora_rank})
          .index_select(0, places_of_slots(all.slots_P, slots_by_token(chosen_TK, spec.num_experts),
                                           pass.num_tokens() * spec.num_experts));
  return expand_pairs(out_TO, h_Pr, of.lora_B, all);
}

}  // namespace molora
