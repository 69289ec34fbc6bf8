// What the forward pass of a micro-step keeps on one rank until its backward pass, item by item.
//
// Of experts that are whole MLPs (router.scope block) it is a bound from above: masks that are
// drawn again are counted, and a bottleneck of all experts. The table is kept_activations.cc, in
// the order of the forward pass; a change of what src/model or src/kernels saves for the backward
// pass belongs there in the same commit (ctest -L plan compares it with the allocator).
//
//   T tokens of a tp group, t = T / tp, s = T, or t with sequence parallelism, D hidden, F MLP,
//   Q query and K key-value width, H heads (all of this rank), E experts, k per token, r LoRA rank,
//   b bytes of an activation, w of a master value
#pragma once

#include <string>
#include <vector>

#include "plan/plan_input.h"

namespace molora {

struct KeptTensor {
  std::string part;  // "input norm", "gate_up", ...
  std::string what;  // "input", "bottleneck u", ...
  double bytes = 0;
};

// Of one decoder layer with the recomputation of `input`: none keeps everything, selective not what
// is cheap to compute again, full only the layer's input.
std::vector<KeptTensor> kept_of_layer(const PlanInput& input, const ExchangeModes& modes,
                                      int64_t layer);

// Of all layers and what lies around them (final norm, head, routing choices); items of the same
// name added up over the layers.
std::vector<KeptTensor> kept_activations(const PlanInput& input, const ExchangeModes& modes);

// Which experts each token chose: kept for the whole step, so that it can be computed again.
double choices_of_step(const PlanInput& input);

double sum_of(const std::vector<KeptTensor>& kept);

}  // namespace molora
