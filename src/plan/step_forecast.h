// How long a step takes on one rank of a machine, expected, by what the time is spent on.
//
// Products, attention and elementwise work at the machine's rates (machine_model.h), each
// collective latency + bytes / bandwidth on the link that its group lies on; one after the other,
// as the step does them, except that on a GPU the host's work per operator hides behind the GPU's.
#pragma once

#include <array>
#include <vector>

#include "plan/machine_model.h"
#include "plan/plan_input.h"

namespace molora {

enum class TimeTerm {
  kBase,         // products with the frozen weights
  kExpansion,    // frozen weights from their quantised form, where they are used
  kAttention,    // its core
  kAdapters,     // products and gates of adapters and routers
  kElementwise,  // norms, rotary embedding, activation function, sums
  kRecompute,    // forward work done again
  kHead,         // embedding, logits and loss
  kTensorLinks,  // collectives over tp
  kExpertLinks,  // over ep
  kDataLinks,    // sums of gradients and updated parameters, once a step
  kOptimizer,
  kHost,  // what the host's work per operator adds
};
constexpr size_t kNumTimeTerms = 12;
const char* time_term_name(TimeTerm term);

// Seconds of one step.
class TermSeconds {
 public:
  double& operator[](TimeTerm term) { return seconds_[static_cast<size_t>(term)]; }
  double operator[](TimeTerm term) const { return seconds_[static_cast<size_t>(term)]; }
  double total() const;
  TermSeconds& operator+=(const TermSeconds& other);
  TermSeconds& operator*=(double factor);

 private:
  std::array<double, kNumTimeTerms> seconds_{};
};

// The base, the head and the loss.
TermSeconds base_forecast(const PlanInput& input, const MachineModel& machine);

// One group's adapters in one mode, with their share of gradients and updates.
TermSeconds adapter_forecast(const PlanInput& input, LinearGroup group, ExchangeMode mode,
                             const MachineModel& machine);

// All of it. `input.is_gpu` says whether the host works ahead.
TermSeconds step_forecast(const PlanInput& input, const ExchangeModes& modes,
                          const MachineModel& machine);

// The host's part, given everything else: to be put into a sum of the parts above.
double host_seconds(const PlanInput& input, const TermSeconds& work, const MachineModel& machine);

}  // namespace molora
