// The trained tensors: for each adapted linear its experts (or one plain LoRA) and its router.
//
// Layout of a linear [out, in] with E experts of rank r (a plain LoRA is E = 1 without a router):
//   lora_A   [E, r, in]    rows of A_e
//   lora_B   [E, r, out]   columns of B_e, so that each expert is contiguous and the whole is the
//                          [E * r, out] matrix of the bottleneck form
//   router.weight [E, in], router.bias [E]
// All in fp32 (fp64 when the model computes in fp64): they are the optimizer's master values.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "model/architecture.h"
#include "run_config.pb.h"

namespace molora {

using at::Tensor;

// The linears of a decoder layer, in the order of the forward pass.
enum class LinearKind { kQ, kK, kV, kO, kGate, kUp, kDown };
constexpr std::array<LinearKind, 7> kLinearKinds = {
    LinearKind::kQ,    LinearKind::kK,  LinearKind::kV,   LinearKind::kO,
    LinearKind::kGate, LinearKind::kUp, LinearKind::kDown};

// "self_attn.q_proj", ..., "mlp.down_proj": as in the published files.
const char* linear_path(LinearKind kind);

struct LinearSize {
  int64_t in = 0;
  int64_t out = 0;
};
LinearSize linear_size(const Architecture& architecture, LinearKind kind);

// How one linear is adapted.
struct AdapterSpec {
  TargetsConfig::Kind kind = TargetsConfig::frozen;
  int64_t num_experts = 1;        // E; 1 for a plain LoRA
  int64_t experts_per_token = 1;  // k
  int64_t lora_rank = 1;          // r
  double scale = 1.0;             // alpha / r, or alpha / sqrt(r)
  double dropout = 0.0;
  RouterConfig::Gate gate = RouterConfig::topk_softmax;

  bool has_router() const { return kind == TargetsConfig::experts && num_experts > 1; }
};
AdapterSpec adapter_spec(const AdapterConfig& config, LinearKind kind);

// Which ranks hold a copy of a trained tensor, and so whose gradients are summed. Declared here,
// never guessed from names.
enum class SyncGroup {
  kDataParallel,  // every data-parallel rank holds it whole
};

// One trained tensor. `value` requires grad; its gradient is value.grad().
struct Parameter {
  std::string name;  // "layers.0.mlp.gate_proj.lora_A"
  Tensor value;
  SyncGroup sync = SyncGroup::kDataParallel;
};

// The adapter of one linear. Tensors share storage with the AdapterSet's parameters.
struct LinearAdapter {
  std::string path;  // "layers.0.mlp.gate_proj"
  AdapterSpec spec;
  LinearSize size;
  int64_t router_index = -1;  // among the routers of the model, in order; -1 without a router
  Tensor lora_A;              // [E, r, in]
  Tensor lora_B;              // [E, r, out]
  Tensor router_weight;       // [E, in]
  Tensor router_bias;         // [E]
};

// All adapters of a model. Move-only: parameters are one set of tensors with one owner.
class AdapterSet {
 public:
  // Initialised as the reference does: A and router uniform in +-1/sqrt(in) (kaiming_uniform with
  // a = sqrt(5); the default of a linear), B zero. Each tensor's numbers depend on the seed, its
  // name and its expert alone.
  AdapterSet(const Architecture& architecture, const AdapterConfig& config, uint64_t seed,
             at::ScalarType master_type);

  AdapterSet(AdapterSet&&) = default;
  AdapterSet& operator=(AdapterSet&&) = default;
  AdapterSet(const AdapterSet&) = delete;
  AdapterSet& operator=(const AdapterSet&) = delete;
  ~AdapterSet() = default;

  // nullptr when this linear is frozen.
  const LinearAdapter* find(int64_t layer, LinearKind kind) const;
  const std::vector<LinearAdapter>& linears() const { return linears_; }
  // In a fixed order: by layer, by linear, then lora_A, lora_B, router.weight, router.bias.
  const std::vector<Parameter>& parameters() const { return parameters_; }
  int64_t num_routers() const { return num_routers_; }

 private:
  void add(const LinearAdapter& shape_only, uint64_t seed, at::ScalarType master_type);

  std::vector<LinearAdapter> linears_;
  std::vector<int> index_;  // layer * 7 + kind -> position in linears_, or -1
  std::vector<Parameter> parameters_;
  int64_t num_routers_ = 0;
};

// Trained elements by kind, for --dry-run and the log.
struct AdapterCounts {
  int64_t lora = 0;
  int64_t experts = 0;
  int64_t routers = 0;
  int64_t total() const { return lora + experts + routers; }
};
AdapterCounts count_adapter_parameters(const Architecture& architecture,
                                       const AdapterConfig& config);

}  // namespace molora
