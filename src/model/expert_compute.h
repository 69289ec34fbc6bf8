// How it is decided which way experts are computed (adapter.expert_compute), and the measurement
// that `auto` rests on.
//
//   T tokens, D inputs, O outputs, E experts, r LoRA rank
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "model/adapter.h"
#include "model/expert_way.h"
#include "run_config.pb.h"

namespace molora {

// What the time of one linear's experts on one rank depends on.
struct ExpertShape {
  int64_t tokens = 0;
  int64_t inputs = 0;
  int64_t outputs = 0;
  int64_t experts = 0;
  int64_t per_token = 0;  // of these experts, those that a token uses
  int64_t lora_rank = 0;
  at::ScalarType type = at::kFloat;

  bool operator==(const ExpertShape&) const = default;
};
// tokens: of a forward pass on this rank.
ExpertShape expert_shape(const LinearAdapter& adapter, int64_t tokens, at::ScalarType type);

// Forward and backward of the experts alone, on random numbers: medians of a few repeats.
struct ExpertTimes {
  double dense_seconds = 0.0;
  double grouped_seconds = 0.0;
};
// `seconds`: about what it may take. It takes fewer tokens than the shape has where that many would
// take longer. REQUIRES: a CPU.
ExpertTimes measure_experts(const ExpertShape& shape, double seconds);

// The shorter one; dense when they are equal.
ExpertWay faster_way(const ExpertTimes& times);

// The linears with routed experts.
std::vector<LinearKind> routed_kinds(const AdapterSet& adapters);

struct ExpertChoiceRequest {
  AdapterConfig::ExpertCompute asked = AdapterConfig::auto_;
  std::optional<ExpertWays> saved = std::nullopt;  // of the checkpoint that the run goes on from
  int64_t tokens = 0;                              // of a forward pass in training
  at::ScalarType type = at::kFloat;
  at::Device device = at::kCPU;
  double seconds = 0.25;  // for all measurements together
};

struct ExpertChoice {
  ExpertWays ways;
  std::vector<std::string> reasons;  // "experts of gate_proj, up_proj: grouped (...)"
};

// What is asked for; for `auto` what the checkpoint has, else the faster way by measurement. Dense
// where every token uses every expert, and on GPUs: grouping needs counts that the host would have
// to wait for. Experts that are whole MLPs are grouped on CPUs unless `dense` is asked for.
// Throws: ConfigError when `grouped` is asked for on a GPU.
ExpertChoice choose_expert_ways(const AdapterSet& adapters, const ExpertChoiceRequest& request);

}  // namespace molora
