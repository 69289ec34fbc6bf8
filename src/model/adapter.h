// The trained tensors: for each adapted linear its experts (or one plain LoRA) and its router.
//
// Layout of a linear [out, in] with E experts of rank r (a plain LoRA is E = 1 without a router):
//   lora_A   [E, r, in]    rows of A_e; [1, r, in] when all experts have one A
//   lora_B   [E, r, out]   columns of B_e, so that each expert is contiguous and the whole is the
//                          [E * r, out] matrix of the bottleneck form
//   router.weight [Z, in], router.bias [Z]   Z logits: the routed experts, then the threshold
//   router.choice_bias [routed experts]      moved by the trainer, not by gradients; if asked for
//   magnitude [out]                          of a plain LoRA with adapter.dora; zero until a model
//                                            begins it with its base's norms (model/decoder.h)
// With heads > 1, in and out of the experts and the router are those of one head. A router by task
// is one for all linears, in the place of theirs:
//   task_router.embedding [tasks, width], task_router.weight [E, width]
// Experts that are whole MLPs (adapter.router.scope block) have one router, "<mlp>.router.weight";
// the first linear with experts keeps it.
// Without adapter.router.bias the experts' biases are zeros that stay.
// All in fp32 (fp64 when the model computes in fp64): they are the optimizer's master values.
// Under tensor and expert parallelism a rank holds slices of these (model/adapter_placement.h).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "model/adapter_placement.h"
#include "model/token_batch.h"
#include "parallel/parameter.h"
#include "run_config.pb.h"

namespace molora {

using at::Tensor;

// The adapter of one linear. Tensors share storage with the AdapterSet's parameters.
struct LinearAdapter {
  std::string path;  // "layers.0.mlp.gate_proj"
  AdapterSpec spec;
  LinearPlace place;
  int64_t router_index = -1;  // among the routers of the model, in order; -1 without a router
  Tensor lora_A;              // [experts held, r, inputs held], or 1 that is shared
  Tensor lora_B;              // [experts held, r, outputs held]
  Tensor router_weight;       // [logits, inputs held]
  Tensor router_bias;         // [logits]
  Tensor choice_bias;         // [routed experts]; undefined where nothing moves it
  Tensor magnitude;           // [outputs held]; undefined without DoRA
  Tensor task_embedding;      // [tasks, width], the same of all linears; undefined: no such router
  Tensor task_weight;         // [E, width]

  // Whose router it is: `path`, or that of the MLP, "layers.0.mlp".
  std::string router_path() const;
};

// All adapters of a model. Move-only: parameters are one set of tensors with one owner.
class AdapterSet {
 public:
  // Initialised as the reference does: A and router uniform in +-1/sqrt(in) (kaiming_uniform with
  // a = sqrt(5); the default of a linear), B zero; router weights normal where
  // adapter.router.init_std asks for it. Each tensor's numbers depend on the seed, its
  // name and its expert alone.
  // Every layout begins with the same numbers.
  // REQUIRES: the sizes divide (plan/layout.h).
  AdapterSet(const Architecture& architecture, const AdapterConfig& config, uint64_t seed,
             at::ScalarType master_type, const AdapterPlacement& placement = {},
             at::Device device = at::kCPU);

  AdapterSet(AdapterSet&&) = default;
  AdapterSet& operator=(AdapterSet&&) = default;
  AdapterSet(const AdapterSet&) = delete;
  AdapterSet& operator=(const AdapterSet&) = delete;
  ~AdapterSet() = default;

  // nullptr when this linear is frozen.
  const LinearAdapter* find(int64_t layer, LinearKind kind) const;
  const std::vector<LinearAdapter>& linears() const { return linears_; }
  // This rank's slices, in a fixed order that is the same on every rank: by layer, by linear, then
  // lora_A, lora_B, magnitude, router.weight, router.bias, router.choice_bias.
  const std::vector<Parameter>& parameters() const { return parameters_; }
  int64_t num_routers() const { return num_routers_; }
  // The number of a task (TokenBatch::tasks_T); kNoTask where no router asks for it.
  // Throws: ConfigError where a router does, and does not know this task.
  int64_t task_number(const std::string& task) const;

 private:
  // How a row of dimension 0 begins: uniform in +-size, normal with the deviation `size`, or zero.
  struct Beginning {
    enum class Kind { kZero, kUniform, kNormal };
    Kind kind = Kind::kZero;
    double size = 0.0;
  };
  // How tensors are made: type, device, seed.
  struct Making {
    at::TensorOptions options;
    uint64_t seed;
  };
  Tensor parameter(const std::string& name, const TensorPlace& place, const Making& making,
                   const std::function<Beginning(int64_t row)>& beginning);
  void add(LinearAdapter linear, const Making& making);
  void add_router(LinearAdapter& linear, const Making& making);
  void add_task_router(const AdapterConfig& config, const Making& making);

  std::vector<LinearAdapter> linears_;
  std::vector<int> index_;  // layer * 7 + kind -> position in linears_, or -1
  std::vector<Parameter> parameters_;
  int64_t num_routers_ = 0;
  std::vector<std::string> tasks_;  // of a router by task
  Tensor task_embedding_;
  Tensor task_weight_;
};

// Elements of the adapter by kind, for --dry-run and the log.
struct AdapterCounts {
  int64_t lora = 0;
  int64_t experts = 0;
  int64_t frozen_experts = 0;  // among them; they keep their values
  int64_t routers = 0;
  int64_t total() const { return lora + experts + routers; }
  int64_t trained() const { return total() - frozen_experts; }
};
AdapterCounts count_adapter_parameters(const Architecture& architecture,
                                       const AdapterConfig& config);

}  // namespace molora
