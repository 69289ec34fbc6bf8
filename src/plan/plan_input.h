// What is planned: a model with its adapters on a mesh, and the work of one step. All predictions
// of src/plan are pure functions of this.
//
//   t = tp, E experts, k experts per token, r LoRA rank, D hidden
#pragma once

#include <cstdint>
#include <vector>

#include "comm/mesh.h"
#include "model/adapter.h"
#include "model/architecture.h"
#include "model/exchange_mode.h"
#include "run_config.pb.h"

namespace molora {

struct PlanInput {
  Architecture architecture;
  AdapterConfig adapter;
  MeshShape mesh;
  bool is_sequence_parallel = false;
  bool is_optimizer_sharded = true;
  bool is_optimizer_offloaded = false;  // the moments lie in the host's memory
  TrainConfig::Recompute recompute = TrainConfig::none;
  ModelConfig::Quantization quantization = ModelConfig::none;
  int64_t activation_bytes = 4;  // of a value of the base and of activations
  int64_t master_bytes = 4;      // of a value of adapters, gradients and routers
  // Ranks compute on GPUs: attention over packed sequences, and `rank` exchange of as many rows
  // whatever the routing is (ParallelLayout::has_fixed_shapes).
  bool is_gpu = false;
  bool has_own_kernels = true;  // not LibTorch's operators alone (device.kernels aten)
  // Of one micro-step, over all data-parallel ranks together.
  int64_t tokens = 0;
  int64_t supervised = 0;
  int64_t row_tokens = 0;   // the length of the rows, for attention
  int64_t micro_steps = 1;  // of one step, the same on every rank

  bool are_layers_recomputed() const { return recompute == TrainConfig::full; }
};

// Of whole numbers whose product may be larger than one of them can hold.
template <typename... Integers>
double product(Integers... factors) {
  return (static_cast<double>(factors) * ...);
}

// A training run. `tokens`: of a micro-step on one data-parallel rank, all of them supervised (the
// most that there can be); 0: micro_batch_size full rows.
// Throws: ConfigError when that is more tokens than anybody has.
PlanInput plan_input(const RunConfig& config, const Architecture& architecture,
                     const MeshShape& mesh, int64_t tokens = 0);

// One linear of a decoder layer as the ranks hold it.
// Where layers differ (lists by layer), all are planned as the largest.
struct PlannedLinear {
  LinearKind kind = LinearKind::kQ;
  AdapterSpec spec;
  int64_t in = 0;   // whole
  int64_t out = 0;  // whole
  // What each rank holds of the base weight [out, in]: `out` of a column-parallel, `in` of a
  // row-parallel linear is split over tp; key-value heads may be held by several ranks alike.
  int64_t in_held = 0;
  int64_t out_held = 0;
  bool has_experts() const { return spec.kind == TargetsConfig::experts; }
  bool is_adapted() const { return spec.kind != TargetsConfig::frozen; }
};

// In the order of the forward pass.
std::vector<PlannedLinear> group_linears(const PlanInput& input, LinearGroup group);

// qkv and gate_up are column-parallel: whole input, split output; o and down row-parallel.
enum class Split { kColumn, kRow };
Split split_of(LinearGroup group);

// How many ranks one group of the axis has.
int axis_size(const MeshShape& mesh, Axis axis);

// Whether experts are whole MLPs (router.scope block), and how many activation functions of an MLP
// a token has then: of those that it uses, or of all where they are computed densely; else 1.
bool has_block_experts(const PlanInput& input);
double mlps_per_token(const PlanInput& input);

// Whether the backward pass goes through the input of this group: something before it is trained.
bool needs_input_gradient(const PlanInput& input, int64_t layer, LinearGroup group);

}  // namespace molora
