#include "model/adapter.h"

#include <algorithm>
#include <cmath>

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "base/philox.h"
#include "tensor/philox_tensor.h"

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

// The numbers of each slice along dimension 0 depend on its own name, so that expert 3 of a model
// with 4 experts begins as expert 3 of a model with 8.
void fill_by_expert(Tensor& tensor, double bound, uint64_t seed, const std::string& name) {
  const at::NoGradGuard no_grad;
  for (int64_t e = 0; e < tensor.size(0); ++e) {
    Tensor slice = tensor.select(0, e);
    fill_uniform(slice, bound,
                 philox_key(seed, RandomPurpose::kAdapterInit, name, static_cast<uint64_t>(e)), 0);
  }
}

}  // namespace

const char* linear_path(LinearKind kind) {
  switch (kind) {
    case LinearKind::kQ:
      return "self_attn.q_proj";
    case LinearKind::kK:
      return "self_attn.k_proj";
    case LinearKind::kV:
      return "self_attn.v_proj";
    case LinearKind::kO:
      return "self_attn.o_proj";
    case LinearKind::kGate:
      return "mlp.gate_proj";
    case LinearKind::kUp:
      return "mlp.up_proj";
    case LinearKind::kDown:
      return "mlp.down_proj";
  }
  return "?";
}

LinearSize linear_size(const Architecture& a, LinearKind kind) {
  switch (kind) {
    case LinearKind::kQ:
      return {a.hidden_size, a.q_size()};
    case LinearKind::kK:
    case LinearKind::kV:
      return {a.hidden_size, a.kv_size()};
    case LinearKind::kO:
      return {a.q_size(), a.hidden_size};
    case LinearKind::kGate:
    case LinearKind::kUp:
      return {a.hidden_size, a.intermediate_size};
    case LinearKind::kDown:
      return {a.intermediate_size, a.hidden_size};
  }
  return {};
}

AdapterSpec adapter_spec(const AdapterConfig& config, LinearKind kind) {
  AdapterSpec spec;
  spec.kind = target_kind(config.targets(), kind);
  const bool has_experts = spec.kind == TargetsConfig::experts;
  spec.num_experts = has_experts ? config.num_experts() : 1;
  spec.gate = config.router().gate();
  spec.experts_per_token = spec.gate == RouterConfig::dense_softmax
                               ? spec.num_experts
                               : std::min<int64_t>(config.experts_per_token(), spec.num_experts);
  spec.lora_rank = config.lora_rank();
  const auto rank = static_cast<double>(config.lora_rank());
  spec.scale = config.lora_alpha() / (config.rslora() ? std::sqrt(rank) : rank);
  spec.dropout = has_experts ? config.expert_dropout() : config.lora_dropout();
  return spec;
}

AdapterSet::AdapterSet(const Architecture& architecture, const AdapterConfig& config, uint64_t seed,
                       at::ScalarType master_type) {
  for (int64_t layer = 0; layer < architecture.num_layers; ++layer) {
    for (const LinearKind kind : kLinearKinds) {
      const AdapterSpec spec = adapter_spec(config, kind);
      if (spec.kind == TargetsConfig::frozen) {
        index_.push_back(-1);
        continue;
      }
      index_.push_back(static_cast<int>(linears_.size()));
      LinearAdapter linear;
      linear.path = fmt::format("layers.{}.{}", layer, linear_path(kind));
      linear.spec = spec;
      linear.size = linear_size(architecture, kind);
      add(linear, seed, master_type);
    }
  }
}

void AdapterSet::add(const LinearAdapter& shape_only, uint64_t seed, at::ScalarType master_type) {
  LinearAdapter linear = shape_only;
  const AdapterSpec& spec = linear.spec;
  const auto options = at::TensorOptions().dtype(master_type);
  const double bound = 1.0 / std::sqrt(static_cast<double>(linear.size.in));
  const auto parameter = [&](const char* suffix, at::IntArrayRef shape) {
    Tensor value = at::zeros(shape, options);
    parameters_.push_back({linear.path + suffix, value, SyncGroup::kDataParallel});
    return value;
  };
  linear.lora_A = parameter(".lora_A", {spec.num_experts, spec.lora_rank, linear.size.in});
  fill_by_expert(linear.lora_A, bound, seed, linear.path + ".lora_A");
  linear.lora_B = parameter(".lora_B", {spec.num_experts, spec.lora_rank, linear.size.out});
  if (spec.has_router()) {
    linear.router_index = num_routers_++;
    linear.router_weight = parameter(".router.weight", {spec.num_experts, linear.size.in});
    fill_by_expert(linear.router_weight, bound, seed, linear.path + ".router.weight");
    linear.router_bias = parameter(".router.bias", {spec.num_experts});
    fill_by_expert(linear.router_bias, bound, seed, linear.path + ".router.bias");
  }
  for (Tensor* tensor :
       {&linear.lora_A, &linear.lora_B, &linear.router_weight, &linear.router_bias}) {
    if (tensor->defined()) tensor->set_requires_grad(true);
  }
  linears_.push_back(std::move(linear));
}

const LinearAdapter* AdapterSet::find(int64_t layer, LinearKind kind) const {
  const size_t at = static_cast<size_t>(layer) * kLinearKinds.size() + static_cast<size_t>(kind);
  MOLORA_CHECK(at < index_.size(), "layer {}", layer);
  return index_[at] < 0 ? nullptr : &linears_[static_cast<size_t>(index_[at])];
}

AdapterCounts count_adapter_parameters(const Architecture& architecture,
                                       const AdapterConfig& config) {
  AdapterCounts counts;
  for (const LinearKind kind : kLinearKinds) {
    const AdapterSpec spec = adapter_spec(config, kind);
    const LinearSize size = linear_size(architecture, kind);
    const int64_t pairs = spec.num_experts * spec.lora_rank * (size.in + size.out);
    if (spec.kind == TargetsConfig::lora) counts.lora += pairs * architecture.num_layers;
    if (spec.kind == TargetsConfig::experts) counts.experts += pairs * architecture.num_layers;
    if (spec.has_router()) {
      counts.routers += spec.num_experts * (size.in + 1) * architecture.num_layers;
    }
  }
  return counts;
}

}  // namespace molora
