#include "model/molora_linear.h"

#include "model/bottleneck.h"

namespace molora {

Tensor adapted_linear(const Tensor& x_TD, const FrozenLinear& base, const LinearAdapter* adapter,
                      const ForwardContext& context) {
  Tensor out_TO = at::linear(x_TD, base.weight_OD, base.bias_O);
  if (adapter == nullptr) return out_TO;
  const Tensor u_TR = project_down(x_TD, adapter->lora_A, *adapter, context,
                                   token_ids(context.batch), {0, x_TD.size(1)});
  Tensor weights_TE;
  if (adapter->spec.has_router()) {
    weights_TE = route(x_TD, *adapter, context.routing).weights_TE;
  }
  return add_up(out_TO, apply_gates(u_TR, weights_TE, adapter->spec), adapter->lora_B);
}

}  // namespace molora
