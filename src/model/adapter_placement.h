// Which slices of an adapter a rank holds. Pure: no tensors, no communication.
//
// What a rank holds (all of it without tensor and expert parallelism), and whose gradients are
// summed:
//                column-parallel linear           row-parallel linear
//   replicate    A whole          all ranks       A its in / tp columns      data
//                B its out / tp   data            B whole                    all ranks
//   rank         A its E / tp     data            A its in / tp columns      data
//                B its out / tp   data            B its E / tp experts       data
//   tokens,      A and B of its E / ep experts, whole                        expert data
//   gather
//   shared A     as of replicate; in rank, tokens and gather mode
//                whole            all ranks       as of replicate (rank), whole  all ranks
//   heads > 1    all tensors whole, all ranks
//   magnitude    its out / tp     data            whole                      all ranks
//   router       whole            all ranks       weight its in / tp columns data
//                                                 bias whole                 all ranks
//                                                 (`tokens`: whole           all ranks)
//   of a block   whole            all ranks       the same
// Plain LoRA is placed as `replicate`. B of k and v has the key-value heads of its rank, which
// several ranks hold when there are fewer heads than tp ranks (kKvReplicas).
#pragma once

#include <cstdint>
#include <vector>

#include "comm/mesh.h"
#include "model/linear_kind.h"
#include "parallel/parameter.h"
#include "run_config.pb.h"

namespace molora {

// How one linear is adapted.
struct AdapterSpec {
  TargetsConfig::Kind kind = TargetsConfig::frozen;
  int64_t num_experts = 1;        // E, shared ones included; 1 for a plain LoRA
  int64_t experts_per_token = 1;  // k, shared ones included; the most that there can be
  int64_t num_shared = 0;         // the last experts, which every token uses with weight 1
  int64_t lora_rank = 1;          // r
  double scale = 1.0;             // alpha / r, or alpha / sqrt(r)
  double dropout = 0.0;
  // softmax_topk_renorm is there as topk_softmax, which gives the same numbers.
  RouterConfig::Gate gate = RouterConfig::topk_softmax;
  RouterConfig::Selection selection = RouterConfig::highest;
  double top_p_mass = 0.0;        // of the gate top_p
  double threshold_max = 0.0;     // of the gate threshold
  bool has_shared_A = false;      // one A for all experts (HydraLoRA)
  bool is_dora = false;           // of a plain LoRA
  int64_t heads = 1;              // sub-tokens of a token, routed each by itself
  bool is_block = false;          // experts are whole MLPs with one router (MixLoRA)
  bool has_block_router = false;  // the first linear of such an MLP with experts: it has the router
  bool routes_by_task = false;    // MOELoRA
  bool has_choice_bias = false;   // a bias that only the choice of experts sees
  bool has_router_bias = true;    // else it is 0 and stays so
  double router_init_std = 0.0;   // 0: uniform as a linear's
  std::vector<int64_t> frozen_experts = {};  // ascending; none of a plain LoRA

  // A router decides which of its experts a token uses.
  bool is_mixture() const { return kind == TargetsConfig::experts && num_routed() > 1; }
  // With the other linears of its MLP, by one router.
  bool is_of_block() const { return is_block && is_mixture(); }
  // That router is this linear's own, or it keeps the one of its block.
  bool has_router() const { return is_mixture() && (!is_block || has_block_router); }
  int64_t num_routed() const { return num_experts - num_shared; }
  int64_t routed_per_token() const { return experts_per_token - num_shared; }
  // How many of the routed experts a token uses depends on the token.
  bool has_open_choice() const {
    return gate == RouterConfig::threshold || gate == RouterConfig::top_p;
  }
  // Logits of a router: one for each routed expert, and behind them that of the threshold.
  int64_t router_rows() const { return num_routed() + (gate == RouterConfig::threshold ? 1 : 0); }
};
// `layer`: of the decoder; the lists by layer of `config` are as long as it has layers, or empty.
AdapterSpec adapter_spec(const AdapterConfig& config, LinearKind kind, int64_t layer);

// Where a rank stands and how experts are placed.
struct AdapterPlacement {
  MeshShape shape;
  int world_rank = 0;
  ExchangeModes modes;

  int tp_rank() const { return world_rank % shape.tp; }
  int ep_rank() const { return world_rank % shape.ep; }
};

// Where the adapter of one linear lies on this rank.
struct LinearPlace {
  LinearKind kind = LinearKind::kQ;
  LinearSize size;  // of the whole linear
  ExchangeMode mode = ExchangeMode::kReplicate;
  Slice experts;  // of `tokens`, `rank` and `gather`: the experts that live here; else all
  Slice inputs;   // this tp rank's input columns of a row-parallel linear; else all
  Slice outputs;  // this tp rank's outputs of a column-parallel linear; else all
  std::vector<Slice> splits;  // by tp rank: its part of the split dimension
};
LinearPlace place_linear(const Architecture& architecture, LinearKind kind, const AdapterSpec& spec,
                         const AdapterPlacement& placement);

// Where a rank's slice of a tensor [E, ..., columns] lies, and who holds the same.
struct TensorPlace {
  std::vector<int64_t> shape;  // of the whole tensor
  Slice experts;               // of dimension 0
  Slice columns;               // of the last dimension, when there is more than one
  SyncGroup sync;

  std::vector<int64_t> slice_shape() const {
    std::vector<int64_t> sizes = shape;
    if (sizes.size() > 1) sizes.back() = columns.length;
    sizes.front() = experts.length;
    return sizes;
  }
  std::vector<int64_t> offset() const {
    std::vector<int64_t> offset(shape.size(), 0);
    if (offset.size() > 1) offset.back() = columns.begin;
    offset.front() = experts.begin;
    return offset;
  }
};

// The width of what the linear's router reads: of the linear's input, or of the MLP's.
int64_t router_inputs(LinearKind kind, const LinearSize& size, const AdapterSpec& spec);

TensorPlace place_of_A(const LinearPlace& linear, const AdapterSpec& spec);
TensorPlace place_of_B(const LinearPlace& linear, const AdapterSpec& spec);
TensorPlace place_of_router_weight(const LinearPlace& linear, const AdapterSpec& spec);
TensorPlace place_of_router_bias(const AdapterSpec& spec);
TensorPlace place_of_choice_bias(const AdapterSpec& spec);
TensorPlace place_of_magnitude(const LinearPlace& linear);

}  // namespace molora
