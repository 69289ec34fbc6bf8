#include "model/molora_linear.h"

#include "model/bottleneck.h"
#include "model/dora.h"
#include "model/head_experts.h"

namespace molora {

Tensor adapted_linear(const Tensor& x_TD, const FrozenLinear& base, const LinearAdapter* adapter,
                      const ForwardContext& context) {
  const bool is_dora = adapter != nullptr && adapter->spec.is_dora;
  Tensor out_TO = at::linear(x_TD, base.weight_OD, is_dora ? Tensor() : base.bias_O);
  if (adapter == nullptr) return out_TO;
  const TokenIds ids = token_ids(context.batch);
  if (has_heads(adapter->spec)) {
    return out_TO +
           head_experts(x_TD, *adapter, context, routing_of(context, ids), {0, x_TD.size(1)});
  }
  const Tensor u_TR = for_each_expert(
      project_down(x_TD, adapter->lora_A, *adapter, context, ids, {0, x_TD.size(1)}), adapter->spec,
      adapter->spec.num_experts);
  Tensor weights_TE;
  if (adapter->spec.has_router()) {
    weights_TE = route(x_TD, *adapter, routing_of(context, ids)).weights_TE;
  }
  out_TO = add_up(out_TO, apply_gates(u_TR, weights_TE, adapter->spec), adapter->lora_B);
  return is_dora ? with_magnitude(out_TO, base, *adapter, /*tp=*/nullptr) : out_TO;
}

}  // namespace molora
