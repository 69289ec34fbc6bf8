// A base model and its adapters, held together for a test.
#pragma once

#include <filesystem>
#include <optional>
#include <utility>

#include "model/decoder.h"

namespace molora::testing {

inline AdapterConfig frozen_adapters() {
  AdapterConfig config;
  TargetsConfig& targets = *config.mutable_targets();
  targets.set_q_proj(TargetsConfig::frozen);
  targets.set_k_proj(TargetsConfig::frozen);
  targets.set_v_proj(TargetsConfig::frozen);
  targets.set_o_proj(TargetsConfig::frozen);
  targets.set_gate_proj(TargetsConfig::frozen);
  targets.set_up_proj(TargetsConfig::frozen);
  targets.set_down_proj(TargetsConfig::frozen);
  return config;
}

inline AdapterConfig lora_everywhere() {
  AdapterConfig config;
  TargetsConfig& targets = *config.mutable_targets();
  targets.set_gate_proj(TargetsConfig::lora);
  targets.set_up_proj(TargetsConfig::lora);
  targets.set_down_proj(TargetsConfig::lora);
  return config;
}

// How the model of one rank is spread; the default is one rank alone.
struct LoadedLayout {
  bool has_sequence_parallel = false;
  ExchangeModes modes;
  bool has_fixed_shapes = false;
  ExpertWays expert_ways = {};
  at::Device device = at::kCPU;
  std::optional<BlockFormat> quantization = std::nullopt;  // of the frozen linears
};

class LoadedModel {
 public:
  LoadedModel(const std::filesystem::path& folder, const AdapterConfig& adapter_config,
              at::ScalarType compute_type = at::kFloat, uint64_t seed = 1)
      : LoadedModel(folder, adapter_config, Mesh::single(), LoadedLayout{}, compute_type, seed) {}

  // This rank's slices.
  LoadedModel(const std::filesystem::path& folder, const AdapterConfig& adapter_config, Mesh mesh,
              const LoadedLayout& layout, at::ScalarType compute_type, uint64_t seed = 1)
      : architecture_(read_architecture(folder, {})),
        mesh_(std::move(mesh)),
        layout_{mesh_, layout.has_sequence_parallel, layout.has_fixed_shapes, layout.expert_ways},
        weights_(WeightFiles(folder, architecture_),
                 {compute_type, layout.quantization, layout.device}, mesh_.shape().tp,
                 mesh_.tp_rank(), ""),
        adapters_(architecture_, adapter_config, seed,
                  compute_type == at::kDouble ? at::kDouble : at::kFloat,
                  {mesh_.shape(), mesh_.world_rank(), layout.modes}, layout.device),
        model_(architecture_, weights_, adapters_, layout_) {}

  const Architecture& architecture() const { return architecture_; }
  const Mesh& mesh() const { return mesh_; }
  const BaseWeights& weights() const { return weights_; }
  AdapterSet& adapters() { return adapters_; }
  const CausalLM& model() const { return model_; }

 private:
  Architecture architecture_;
  Mesh mesh_;
  ParallelLayout layout_;
  BaseWeights weights_;
  AdapterSet adapters_;
  CausalLM model_;
};

}  // namespace molora::testing
