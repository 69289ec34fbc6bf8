// What becomes of a checkpoint's adapters when a run goes on with another number, size or choice of
// experts. Pure: configurations in, a plan out, no tensors (checkpoint/expert_surgery.h).
//
// The rule is that the first forward pass is the one that the checkpoint would have made, and that
// what cannot keep it is refused unless checkpoint.surgery.may_change_forward allows it:
//   added experts      lora_B 0, router weights 0 and a router bias so low that no token takes them
//   dropped experts    only those that no token takes: still as they were added
//   larger lora_rank   new rows of lora_A as at the start of a run, of lora_B 0
//   smaller lora_rank  only where no pair uses more
//   another scale      lora_B is multiplied by what the scale was divided by
//   experts_per_token  never (of no effect with the gate dense_softmax)
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "run_config.pb.h"

namespace molora {

// The fields that surgery answers for: whoever compares configurations may leave them to it.
// Freezing and unfreezing experts needs no operation.
constexpr std::array<std::string_view, 6> kSurgeryFields = {
    "adapter.num_experts", "adapter.experts_per_token", "adapter.lora_rank", "adapter.lora_alpha",
    "adapter.rslora",      "adapter.frozen_experts"};

// An expert with a router bias of at most this and router weights 0 has a weight below 1e-8 beside
// any expert whose logit is above -1.
constexpr double kUnchosenBias = -20.0;

struct SurgeryPlan {
  static constexpr int64_t kAdded = -1;
  struct Size {
    int64_t num_experts = 1;
    int64_t lora_rank = 1;
    double scale = 1.0;
  };

  TargetsConfig targets;
  Size stored;  // of the checkpoint
  Size wanted;  // of the run
  // By expert of the run: the expert of the checkpoint that it was, or kAdded. Experts that are
  // left keep their order, added ones come last.
  std::vector<int64_t> origins;
  std::vector<int64_t> dropped;  // by their index in the checkpoint, ascending
  double added_expert_bias = 0.0;
  bool may_change_forward = false;
  std::vector<std::string> report;  // what is done, one line each, for the log

  // What lora_B is multiplied by, so that scale * B A stays what it was.
  double factor_of_B() const { return stored.scale / wanted.scale; }
};

// Whether a checkpoint of `stored` cannot simply be loaded into a run of `wanted`. The list
// drop_experts of a resume that the checkpoint already comes from asks for nothing.
bool needs_surgery(const RunConfig& stored, const RunConfig& wanted);

// Throws: ConfigError with everything that is refused, what the checkpoint has, and what to write
// instead.
SurgeryPlan plan_surgery(const RunConfig& stored, const RunConfig& wanted);

// What is trained on the linear of this path: "layers.0.mlp.gate_proj".
TargetsConfig::Kind target_kind(const TargetsConfig& targets, std::string_view path);

}  // namespace molora
