#include "model/adapter_placement.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "base/mutation.h"
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

constexpr std::array kMlp = {LinearKind::kGate, LinearKind::kUp, LinearKind::kDown};

bool is_mlp(LinearKind kind) { return std::find(kMlp.begin(), kMlp.end(), kind) != kMlp.end(); }

// The linear that keeps the router of a block: the first that has experts.
bool is_first_of_mlp(const TargetsConfig& targets, LinearKind kind) {
  const auto first = std::find_if(kMlp.begin(), kMlp.end(), [&](LinearKind other) {
    return target_kind(targets, other) == TargetsConfig::experts;
  });
  return first != kMlp.end() && *first == kind;
}

int64_t of_layer(const google::protobuf::RepeatedField<uint32_t>& by_layer, int64_t layer,
                 int64_t in_all) {
  if (by_layer.empty()) return in_all;
  MOLORA_CHECK(layer < by_layer.size(), "layer {} of {}", layer, by_layer.size());
  return by_layer[static_cast<int>(layer)];
}

bool lives_on_ep_rank(const LinearPlace& linear) {
  return linear.mode == ExchangeMode::kTokens || linear.mode == ExchangeMode::kGather;
}

// Whole on every rank, each of which uses it for the heads that are its own.
TensorPlace of_a_head(const std::vector<int64_t>& shape) {
  return {shape,
          {0, shape.front()},
          {0, shape.back()},
          MOLORA_MUTANT(kHeadsOfOneOwner) ? SyncGroup::kData : SyncGroup::kAll};
}

SyncGroup sync_of_outputs(const LinearPlace& linear) {
  return linear.kind == LinearKind::kK || linear.kind == LinearKind::kV ? SyncGroup::kKvReplicas
                                                                        : SyncGroup::kData;
}

}  // namespace

AdapterSpec adapter_spec(const AdapterConfig& config, LinearKind kind, int64_t layer) {
  const RouterConfig& router = config.router();
  AdapterSpec spec;
  spec.kind = target_kind(config.targets(), kind);
  const bool has_experts = spec.kind == TargetsConfig::experts;
  spec.dropout = has_experts ? config.expert_dropout() : config.lora_dropout();
  spec.lora_rank = config.lora_rank();
  spec.is_dora = !has_experts && config.dora();
  if (has_experts) {
    spec.lora_rank = of_layer(config.lora_rank_by_layer(), layer, config.lora_rank());
    const int64_t routed = of_layer(config.num_experts_by_layer(), layer, config.num_experts());
    const int64_t per_token =
        of_layer(config.experts_per_token_by_layer(), layer, config.experts_per_token());
    spec.num_shared = config.shared_experts();
    spec.num_experts = routed + spec.num_shared;
    spec.gate = router.gate() == RouterConfig::softmax_topk_renorm ? RouterConfig::topk_softmax
                                                                   : router.gate();
    const bool uses_all = spec.gate == RouterConfig::dense_softmax || spec.has_open_choice();
    spec.experts_per_token = spec.num_shared + (uses_all ? routed : std::min(per_token, routed));
    spec.selection = router.selection();
    spec.top_p_mass = router.top_p_mass();
    spec.threshold_max =
        router.threshold_max() > 0.0 ? router.threshold_max() : 1.0 / static_cast<double>(routed);
    spec.has_shared_A = config.shared_a();
    spec.has_router_bias = router.bias();
    spec.router_init_std = router.init_std();
    spec.has_choice_bias =
        router.bias_update_rate() > 0.0 || router.health().action() == RouterHealthConfig::bias;
    spec.is_block = router.scope() == RouterConfig::block && is_mlp(kind);
    spec.has_block_router = spec.is_block && is_first_of_mlp(config.targets(), kind);
    spec.routes_by_task = router.input() == RouterConfig::task;
    spec.heads = router.heads();
    spec.frozen_experts.assign(config.frozen_experts().begin(), config.frozen_experts().end());
    std::sort(spec.frozen_experts.begin(), spec.frozen_experts.end());
  }
  spec.scale = adapter_scale(config, spec.lora_rank);
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
  // Heads are shared out as the outputs (or inputs) are, by themselves.
  if (spec.is_mixture() && spec.heads == 1) place.mode = placement.modes.of(linear_group(kind));
  place.experts = {0, spec.num_experts};
  if (place.mode == ExchangeMode::kRank) {
    place.experts = even_slice(spec.num_experts, shape.tp, placement.tp_rank());
  } else if (lives_on_ep_rank(place)) {
    place.experts = even_slice(spec.num_experts, shape.ep, placement.ep_rank());
  }
  return place;
}

int64_t router_inputs(LinearKind kind, const LinearSize& size, const AdapterSpec& spec) {
  // What the MLP reads is as wide as what down gives.
  if (spec.is_block && kind == LinearKind::kDown) return size.out;
  return size.in / spec.heads;
}

TensorPlace place_of_A(const LinearPlace& linear, const AdapterSpec& spec) {
  if (spec.heads > 1) {
    return of_a_head(
        {spec.has_shared_A ? 1 : spec.num_experts, spec.lora_rank, linear.size.in / spec.heads});
  }
  const int64_t experts = spec.has_shared_A ? 1 : spec.num_experts;
  TensorPlace place{{experts, spec.lora_rank, linear.size.in},
                    {0, experts},
                    {0, linear.size.in},
                    SyncGroup::kAll};
  if (spec.has_shared_A && (lives_on_ep_rank(linear) || is_column_parallel(linear.kind))) {
    // Whole on every rank, each of which uses it for its part of the experts, outputs or inputs.
    if (MOLORA_MUTANT(kSharedAOfOneOwner)) place.sync = SyncGroup::kData;
  } else if (lives_on_ep_rank(linear)) {
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
  if (spec.heads > 1) {
    return of_a_head({spec.num_experts, spec.lora_rank, linear.size.out / spec.heads});
  }
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
  if (spec.heads > 1) return of_a_head({spec.router_rows(), linear.size.in / spec.heads});
  // In `tokens` mode a row-parallel linear routes whole rows, like a column-parallel one.
  const bool is_split =
      !is_column_parallel(linear.kind) && linear.mode != ExchangeMode::kTokens && !spec.is_block;
  const int64_t inputs = router_inputs(linear.kind, linear.size, spec);
  return {{spec.router_rows(), inputs},
          {0, spec.router_rows()},
          is_split ? linear.inputs : Slice{0, inputs},
          is_split ? SyncGroup::kData : SyncGroup::kAll};
}

TensorPlace place_of_router_bias(const AdapterSpec& spec) {
  return {{spec.router_rows()}, {0, spec.router_rows()}, {}, SyncGroup::kAll};
}

TensorPlace place_of_magnitude(const LinearPlace& linear) {
  const bool is_column = is_column_parallel(linear.kind);
  SyncGroup sync = is_column ? sync_of_outputs(linear) : SyncGroup::kAll;
  if (MOLORA_MUTANT(kMagnitudeOfOneRank)) sync = SyncGroup::kData;
  return {{linear.size.out}, linear.outputs, {}, sync};
}

TensorPlace place_of_choice_bias(const AdapterSpec& spec) {
  return {{spec.num_routed()}, {0, spec.num_routed()}, {}, SyncGroup::kAll};
}

}  // namespace molora
