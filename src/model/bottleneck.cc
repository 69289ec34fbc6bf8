#include "model/bottleneck.h"

#include "base/mutation.h"
#include "base/philox.h"
#include "kernels/dropout.h"
#include "kernels/gating.h"

namespace molora {

TokenIds token_ids(const TokenBatch& batch) { return {batch.samples_T, batch.positions_T}; }

TokenIds token_ids(const TokenBatch& batch, const Slice& tokens) {
  return {batch.samples_T.slice(0, tokens.begin, tokens.end()),
          batch.positions_T.slice(0, tokens.begin, tokens.end())};
}

bool has_dropout(const LinearAdapter& adapter, const ForwardContext& context) {
  return context.mode == ForwardMode::kTrain && adapter.spec.dropout > 0.0;
}

Tensor project_down(const Tensor& x_TD, const Tensor& lora_A, const LinearAdapter& adapter,
                    const ForwardContext& context, const TokenIds& ids, const Slice& columns) {
  const Tensor a_RD = lora_A.flatten(0, 1).to(x_TD.scalar_type());
  if (!has_dropout(adapter, context)) return at::linear(x_TD, a_RD);
  const uint64_t key =
      philox_key(context.seed, RandomPurpose::kDropout, adapter.path, context.step);
  const int64_t first = MOLORA_MUTANT(kDropoutMaskReused) ? 0 : columns.begin;
  const Tensor dropped_TD =
      apply_dropout(x_TD, ids.samples_T, ids.positions_T, {first, first + columns.length},
                    {adapter.spec.dropout, key});
  return at::linear(dropped_TD, a_RD);
}

Tensor apply_gates(const Tensor& u_TR, const Tensor& weights_TE, const AdapterSpec& spec) {
  return gate_and_scale(u_TR, weights_TE, spec.scale, spec.lora_rank);
}

Tensor add_up(const Tensor& out_TO, const Tensor& h_TR, const Tensor& lora_B) {
  return at::addmm(out_TO, h_TR, lora_B.flatten(0, 1).to(h_TR.scalar_type()));
}

}  // namespace molora
