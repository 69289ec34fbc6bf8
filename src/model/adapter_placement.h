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
//   router       whole            all ranks       weight its in / tp columns data
//                                                 bias whole                 all ranks
//                                                 (`tokens`: whole           all ranks)
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
  int64_t num_experts = 1;        // E; 1 for a plain LoRA
  int64_t experts_per_token = 1;  // k
  int64_t lora_rank = 1;          // r
  double scale = 1.0;             // alpha / r, or alpha / sqrt(r)
  double dropout = 0.0;
  // softmax_topk_renorm is there as topk_softmax, which gives the same numbers.
  RouterConfig::Gate gate = RouterConfig::topk_softmax;
  bool has_router_bias = true;               // else it is 0 and stays so
  double router_init_std = 0.0;              // 0: uniform as a linear's
  std::vector<int64_t> frozen_experts = {};  // ascending; none of a plain LoRA

  bool has_router() const { return kind == TargetsConfig::experts && num_experts > 1; }
};
AdapterSpec adapter_spec(const AdapterConfig& config, LinearKind kind);

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

TensorPlace place_of_A(const LinearPlace& linear, const AdapterSpec& spec);
TensorPlace place_of_B(const LinearPlace& linear, const AdapterSpec& spec);
TensorPlace place_of_router_weight(const LinearPlace& linear, const AdapterSpec& spec);
TensorPlace place_of_router_bias(const AdapterSpec& spec);

}  // namespace molora
