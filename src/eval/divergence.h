// How far one model's predictions are from another's, on text, and what its routers do there.
#pragma once

#include <cstdint>

#include <ATen/ATen.h>

#include "eval/eval_set.h"
#include "model/decoder.h"

namespace molora {

using at::Tensor;

struct Divergence {
  int64_t tokens = 0;       // the supervised ones
  double kl_nats = 0.0;     // mean over them of KL(expected || found)
  double worst_nats = 0.0;  // of the token with the largest
  double same_top = 0.0;    // share of them whose likeliest next token is the same
};

// Over the answer tokens of the set. Both models have the same vocabulary. Collective over the tp
// groups of both, on the set of this rank. tokens_per_pass: as in EvaluatorOptions.
Divergence measure_divergence(const CausalLM& expected, const CausalLM& found, const EvalSet& set,
                              int64_t tokens_per_pass = 4096);

// The weight of each expert, mean over all tokens of the set: [routers, experts] fp64 on the CPU.
Tensor mean_router_weights(const CausalLM& model, const AdapterSet& adapters, const EvalSet& set,
                           int64_t tokens_per_pass = 4096);

}  // namespace molora
