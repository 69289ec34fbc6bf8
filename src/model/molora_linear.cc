#include "model/molora_linear.h"

#include "base/philox.h"
#include "tensor/philox_tensor.h"

namespace molora {

namespace {

Tensor dropped(const Tensor& x_TD, const LinearAdapter& adapter, const ForwardContext& context) {
  if (context.mode != ForwardMode::kTrain || adapter.spec.dropout == 0.0) return x_TD;
  const uint64_t key =
      philox_key(context.seed, RandomPurpose::kDropout, adapter.path, context.step);
  return x_TD * dropout_mask(context.batch.samples_T, context.batch.positions_T, x_TD.size(1),
                             adapter.spec.dropout, key, x_TD.scalar_type());
}

// A x with scale and gate applied, [tokens, E * r].
Tensor gated_bottleneck(const Tensor& x_TD, const LinearAdapter& adapter,
                        const ForwardContext& context) {
  const Tensor a_RD = adapter.lora_A.flatten(0, 1).to(x_TD.scalar_type());
  const Tensor u_TR = at::linear(dropped(x_TD, adapter, context), a_RD);
  if (!adapter.spec.has_router()) return u_TR * adapter.spec.scale;
  const Tensor weights_TE = route(x_TD, adapter, context.routing);
  const Tensor gates_TE1 = (weights_TE * adapter.spec.scale).to(u_TR.scalar_type()).unsqueeze(2);
  const Tensor u_TEr = u_TR.unflatten(1, {adapter.spec.num_experts, adapter.spec.lora_rank});
  return (u_TEr * gates_TE1).flatten(1);
}

}  // namespace

Tensor adapted_linear(const Tensor& x_TD, const FrozenLinear& base, const LinearAdapter* adapter,
                      const ForwardContext& context) {
  Tensor out_TO = at::linear(x_TD, base.weight_OD, base.bias_O);
  if (adapter == nullptr) return out_TO;
  const Tensor b_RO = adapter->lora_B.flatten(0, 1).to(x_TD.scalar_type());
  return at::addmm(out_TO, gated_bottleneck(x_TD, *adapter, context), b_RO);
}

}  // namespace molora
