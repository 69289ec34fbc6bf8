#include "model/bottleneck.h"

#include "base/mutation.h"
#include "base/philox.h"
#include "kernels/gating.h"
#include "model/input_products.h"

namespace molora {

bool has_dropout(const LinearAdapter& adapter, const ForwardContext& context) {
  return context.mode == ForwardMode::kTrain && adapter.spec.dropout > 0.0;
}

std::optional<TokenDropout> token_dropout(const LinearAdapter& adapter,
                                          const ForwardContext& context, const TokenIds& ids,
                                          const Slice& columns) {
  if (!has_dropout(adapter, context)) return std::nullopt;
  const uint64_t key =
      philox_key(context.seed, RandomPurpose::kDropout, adapter.path, context.step);
  const int64_t first = MOLORA_MUTANT(kDropoutMaskReused) ? 0 : columns.begin;
  return TokenDropout{
      ids.samples_T, ids.positions_T, {first, first + columns.length}, {adapter.spec.dropout, key}};
}

Tensor project_down(const Tensor& x_TD, const Tensor& lora_A, const LinearAdapter& adapter,
                    const ForwardContext& context, const TokenIds& ids, const Slice& columns) {
  const Tensor a_RD = lora_A.flatten(0, 1).to(x_TD.scalar_type());
  const std::optional<TokenDropout> dropout = token_dropout(adapter, context, ids, columns);
  return at::linear(dropout ? under_dropout(x_TD, *dropout) : x_TD, a_RD);
}

InputReading read_input(const Tensor& x_TD, const std::vector<FrozenLinear>& frozen,
                        const std::vector<ReadingAdapter>& adapters, const ForwardContext& context,
                        const TokenIds& ids) {
  // Dropout gives each adapter an input of its own.
  const auto is_dropped = [&](const ReadingAdapter& reading) {
    return has_dropout(*reading.adapter, context);
  };
  std::vector<Tensor> matrices_RD;
  for (const ReadingAdapter& reading : adapters) {
    if (reading.lora_A.defined() && !is_dropped(reading)) {
      matrices_RD.push_back(reading.lora_A.flatten(0, 1).to(x_TD.scalar_type()));
    }
    if (reading.router_weight.defined()) matrices_RD.push_back(reading.router_weight);
  }
  InputProducts products = input_products(x_TD, frozen, matrices_RD);
  InputReading result{std::move(products.frozen_TO), {}, std::move(products.x_TD)};
  auto next = products.trained_TR.begin();
  for (const ReadingAdapter& reading : adapters) {
    AdapterReading of;
    if (reading.lora_A.defined()) {
      of.u_TR = is_dropped(reading) ? project_down(x_TD, reading.lora_A, *reading.adapter, context,
                                                   ids, reading.columns)
                                    : *next++;
      of.u_TR = for_each_expert(of.u_TR, reading.adapter->spec, reading.num_experts);
    }
    if (reading.router_weight.defined()) of.router_TZ = *next++;
    result.adapters.push_back(of);
  }
  return result;
}

Tensor for_each_expert(const Tensor& u_TR, const AdapterSpec& spec, int64_t num_experts) {
  return spec.has_shared_A ? u_TR.repeat({1, num_experts}) : u_TR;
}

Tensor each_experts_A(const Tensor& lora_A, const AdapterSpec& spec, int64_t num_experts) {
  return spec.has_shared_A ? lora_A.expand({num_experts, -1, -1}).contiguous() : lora_A;
}

Tensor apply_gates(const Tensor& u_TR, const Tensor& weights_TE, const AdapterSpec& spec) {
  return gate_and_scale(u_TR, weights_TE, spec.scale, spec.lora_rank);
}

Tensor add_up(Tensor out_TO, const Tensor& h_TR, const Tensor& lora_B) {
  return out_TO.addmm_(h_TR, lora_B.flatten(0, 1).to(h_TR.scalar_type()));
}

}  // namespace molora
