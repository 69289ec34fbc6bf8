// Which trained parameters a rank holds, and which ranks sum their gradients.
#pragma once

#include <vector>

#include "plan/plan_input.h"

namespace molora {

// Parameters of one rank whose gradients are summed over the same axis.
struct HeldParameters {
  Axis axis = Axis::kAll;
  int64_t count = 0;
};

// Of one group's linears over all layers, plain LoRA included; one entry per axis, those without
// parameters left out.
std::vector<HeldParameters> held_parameters(const PlanInput& input, LinearGroup group,
                                            ExchangeMode mode);

// Values of experts that a rank uses in one layer and does not hold: those that `gather` fetches.
int64_t fetched_values(const PlanInput& input, LinearGroup group, ExchangeMode mode);

}  // namespace molora
