#include "plan/plan_input.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"

namespace molora {

namespace {

constexpr double kMostTokens = 1e12;  // keeps every count inside int64

std::vector<LinearKind> kinds_of(LinearGroup group) {
  switch (group) {
    case LinearGroup::kQkv:
      return {LinearKind::kQ, LinearKind::kK, LinearKind::kV};
    case LinearGroup::kO:
      return {LinearKind::kO};
    case LinearGroup::kGateUp:
      return {LinearKind::kGate, LinearKind::kUp};
    case LinearGroup::kDown:
      return {LinearKind::kDown};
  }
  return {};
}

bool is_trained(const PlanInput& input, LinearGroup group) {
  const std::vector<LinearKind> kinds = kinds_of(group);
  return std::any_of(kinds.begin(), kinds.end(), [&](LinearKind kind) {
    return adapter_spec(input.adapter, kind, 0).kind != TargetsConfig::frozen;
  });
}

// What the layers have at most: where they differ, every layer is planned as the largest.
AdapterSpec largest_spec(const PlanInput& input, LinearKind kind) {
  AdapterSpec largest = adapter_spec(input.adapter, kind, 0);
  for (int64_t layer = 1; layer < input.architecture.num_layers; ++layer) {
    const AdapterSpec spec = adapter_spec(input.adapter, kind, layer);
    largest.num_experts = std::max(largest.num_experts, spec.num_experts);
    largest.experts_per_token = std::max(largest.experts_per_token, spec.experts_per_token);
    largest.lora_rank = std::max(largest.lora_rank, spec.lora_rank);
  }
  return largest;
}

void check_tokens(double tokens) {
  if (tokens <= kMostTokens) return;
  throw ConfigError(fmt::format(
      "a micro-step of {:.3g} tokens over all ranks cannot be planned, at most {:.3g}: make "
      "train.micro_batch_size, data.max_length or --tokens smaller",
      tokens, kMostTokens));
}

}  // namespace

PlanInput plan_input(const RunConfig& config, const Architecture& architecture,
                     const MeshShape& mesh, int64_t tokens) {
  const TrainConfig& train = config.train();
  PlanInput input;
  input.architecture = architecture;
  input.adapter = config.adapter();
  input.mesh = mesh;
  input.is_sequence_parallel = config.parallel().sequence_parallel();
  input.is_optimizer_sharded = config.parallel().shard_optimizer();
  input.is_optimizer_offloaded = train.offload_optimizer();
  input.recompute = train.activation_checkpointing();
  input.quantization = config.model().quantization();
  input.has_own_kernels = config.device().kernels() != KernelKind::aten;
  const auto precision = config.model().precision();
  input.activation_bytes = precision == ModelConfig::bf16   ? 2
                           : precision == ModelConfig::fp64 ? 8
                                                            : 4;
  input.master_bytes = precision == ModelConfig::fp64 ? 8 : 4;
  input.row_tokens = config.data().max_length();
  const int64_t rank_rows = (int64_t{train.global_batch_size()} + mesh.dp - 1) / mesh.dp;
  const int64_t micro_rows = std::min<int64_t>(train.micro_batch_size(), rank_rows);
  input.micro_steps = (rank_rows + micro_rows - 1) / micro_rows;
  check_tokens(tokens > 0 ? product(tokens, mesh.dp)
                          : product(micro_rows, input.row_tokens, mesh.dp));
  input.tokens = (tokens > 0 ? tokens : micro_rows * input.row_tokens) * mesh.dp;
  input.row_tokens = std::min(input.row_tokens, input.tokens / mesh.dp);
  input.supervised = input.tokens;
  return input;
}

std::vector<PlannedLinear> group_linears(const PlanInput& input, LinearGroup group) {
  std::vector<PlannedLinear> linears;
  for (const LinearKind kind : kinds_of(group)) {
    const LinearSize size = linear_size(input.architecture, kind);
    PlannedLinear linear{.kind = kind,
                         .spec = largest_spec(input, kind),
                         .in = size.in,
                         .out = size.out,
                         .in_held = size.in,
                         .out_held = size.out};
    const bool is_kv = kind == LinearKind::kK || kind == LinearKind::kV;
    if (split_of(group) == Split::kRow) {
      linear.in_held = size.in / input.mesh.tp;
    } else {
      linear.out_held = size.out * (is_kv ? input.mesh.kv_replicas : 1) / input.mesh.tp;
    }
    linears.push_back(linear);
  }
  return linears;
}

Split split_of(LinearGroup group) {
  return group == LinearGroup::kQkv || group == LinearGroup::kGateUp ? Split::kColumn : Split::kRow;
}

int axis_size(const MeshShape& mesh, Axis axis) {
  switch (axis) {
    case Axis::kAll:
      return mesh.world();
    case Axis::kTensor:
      return mesh.tp;
    case Axis::kData:
      return mesh.dp;
    case Axis::kExpert:
      return mesh.ep;
    case Axis::kExpertData:
      return mesh.edp;
    case Axis::kKvReplicas:
      return mesh.dp * mesh.kv_replicas;
  }
  return 1;
}

bool has_block_experts(const PlanInput& input) {
  for (const LinearGroup group : {LinearGroup::kGateUp, LinearGroup::kDown}) {
    for (const LinearKind kind : kinds_of(group)) {
      if (adapter_spec(input.adapter, kind, 0).is_of_block()) return true;
    }
  }
  return false;
}

double mlps_per_token(const PlanInput& input) {
  if (!has_block_experts(input)) return 1;
  const bool is_dense = input.is_gpu || input.adapter.expert_compute() == AdapterConfig::dense;
  double most = 1;
  for (const LinearGroup group : {LinearGroup::kGateUp, LinearGroup::kDown}) {
    for (const PlannedLinear& linear : group_linears(input, group)) {
      if (!linear.spec.is_of_block()) continue;
      most = std::max(most,
                      product(is_dense ? linear.spec.num_experts : linear.spec.experts_per_token));
    }
  }
  return most;
}

bool needs_input_gradient(const PlanInput& input, int64_t layer, LinearGroup group) {
  return std::any_of(kLinearGroups.begin(), kLinearGroups.end(), [&](LinearGroup other) {
    return (layer > 0 || other < group) && is_trained(input, other);
  });
}

}  // namespace molora
