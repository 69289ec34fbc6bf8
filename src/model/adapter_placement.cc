#include "model/adapter_placement.h"

#include <algorithm>
#include <utility>

#include "config/adapter_scale.h"

namespace molora {

namespace {

TargetsConfig::Kind target_kind(const TargetsConfig& targets, LinearKind kind) {
  switch (kind) {
    case LinearKind::kQ:
      return targets.q_proj();
    case LinearKind::kK:
      return targets.k_proj();
    case LinearKind::kV:
      return targets.v_proj();
    case LinearKind::kO:
      return targets.o_proj();
    case LinearKind::kGate:
      return targets.gate_proj();
    case LinearKind::kUp:
      return targets.up_proj();
    case LinearKind::kDown:
      return targets.down_proj();
  }
  return TargetsConfig::frozen;
}

bool lives_on_ep_rank(const LinearPlace& linear) {
  return linear.mode == ExchangeMode::kTokens || linear.mode == ExchangeMode::kGather;
}

SyncGroup sync_of_outputs(const LinearPlace& linear) {
  return linear.kind == LinearKind::kK || linear.kind == LinearKind::kV ? SyncGroup::kKvReplicas
                                                                        : SyncGroup::kData;
}

}  // namespace

AdapterSpec adapter_spec(const AdapterConfig& config, LinearKind kind) {
  AdapterSpec spec;
  spec.kind = target_kind(config.targets(), kind);
  const bool has_experts = spec.kind == TargetsConfig::experts;
  spec.num_experts = has_experts ? config.num_experts() : 1;
  spec.gate = config.router().gate() == RouterConfig::softmax_topk_renorm
                  ? RouterConfig::topk_softmax
                  : config.router().gate();
  spec.has_router_bias = config.router().bias();
  spec.router_init_std = config.router().init_std();
  spec.experts_per_token = spec.gate == RouterConfig::dense_softmax
                               ? spec.num_experts
                               : std::min<int64_t>(config.experts_per_token(), spec.num_experts);
  spec.lora_rank = config.lora_rank();
  spec.scale = adapter_scale(config);
  spec.dropout = has_experts ? config.expert_dropout() : config.lora_dropout();
  if (has_experts) {
    spec.frozen_experts.assign(config.frozen_experts().begin(), config.frozen_experts().end());
    std::sort(spec.frozen_experts.begin(), spec.frozen_experts.end());
  }
  return spec;
}

LinearPlace place_linear(const Architecture& architecture, LinearKind kind, const AdapterSpec& spec,
                         const AdapterPlacement& placement) {
  const MeshShape& shape = placement.shape;
  std::vector<Slice> splits;
  splits.reserve(static_cast<size_t>(shape.tp));
  for (int rank = 0; rank < shape.tp; ++rank) {
    splits.push_back(split_slice(architecture, kind, shape.tp, rank));
  }
  const Slice split = splits[static_cast<size_t>(placement.tp_rank())];
  const bool is_column = is_column_parallel(kind);
  LinearPlace place;
  place.kind = kind;
  place.size = linear_size(architecture, kind);
  place.inputs = is_column ? Slice{0, place.size.in} : split;
  place.outputs = is_column ? split : Slice{0, place.size.out};
  place.splits = std::move(splits);
  if (spec.has_router()) place.mode = placement.modes.of(linear_group(kind));
  place.experts = {0, spec.num_experts};
  if (place.mode == ExchangeMode::kRank) {
    place.experts = even_slice(spec.num_experts, shape.tp, placement.tp_rank());
  } else if (lives_on_ep_rank(place)) {
    place.experts = even_slice(spec.num_experts, shape.ep, placement.ep_rank());
  }
  return place;
}

TensorPlace place_of_A(const LinearPlace& linear, const AdapterSpec& spec) {
  const int64_t experts = spec.num_experts;
  TensorPlace place{{experts, spec.lora_rank, linear.size.in},
                    {0, experts},
                    {0, linear.size.in},
                    SyncGroup::kAll};
  if (lives_on_ep_rank(linear)) {
    place.experts = linear.experts;
    place.sync = SyncGroup::kExpertData;
  } else if (!is_column_parallel(linear.kind)) {
    place.columns = linear.inputs;
    place.sync = SyncGroup::kData;
  } else if (linear.mode == ExchangeMode::kRank) {
    place.experts = linear.experts;
    place.sync = SyncGroup::kData;
  }
  return place;
}

TensorPlace place_of_B(const LinearPlace& linear, const AdapterSpec& spec) {
  const int64_t experts = spec.num_experts;
  TensorPlace place{{experts, spec.lora_rank, linear.size.out},
                    {0, experts},
                    {0, linear.size.out},
                    SyncGroup::kAll};
  if (lives_on_ep_rank(linear)) {
    place.experts = linear.experts;
    place.sync = SyncGroup::kExpertData;
  } else if (is_column_parallel(linear.kind)) {
    place.columns = linear.outputs;
    place.sync = sync_of_outputs(linear);
  } else if (linear.mode == ExchangeMode::kRank) {
    place.experts = linear.experts;
    place.sync = SyncGroup::kData;
  }
  return place;
}

TensorPlace place_of_router_weight(const LinearPlace& linear, const AdapterSpec& spec) {
  // In `tokens` mode a row-parallel linear routes whole rows, like a column-parallel one.
  const bool is_split = !is_column_parallel(linear.kind) && linear.mode != ExchangeMode::kTokens;
  return {{spec.num_experts, linear.size.in},
          {0, spec.num_experts},
          is_split ? linear.inputs : Slice{0, linear.size.in},
          is_split ? SyncGroup::kData : SyncGroup::kAll};
}

TensorPlace place_of_router_bias(const AdapterSpec& spec) {
  return {{spec.num_experts}, {0, spec.num_experts}, {}, SyncGroup::kAll};
}

}  // namespace molora
