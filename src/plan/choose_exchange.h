// How routed tokens and their experts should meet: what `exchange: auto` means.
#pragma once

#include <array>
#include <optional>
#include <string>

#include "plan/cost_model.h"
#include "plan/memory_plan.h"

namespace molora {

// Why `auto` does not consider a mode for a group's experts; empty when it does: experts that
// cannot be shared out, or an axis of one rank, over which there is nothing to share.
std::string mode_obstacle(const PlanInput& input, LinearGroup group, ExchangeMode mode);

struct ChoiceRequest {
  // By group; nothing: auto (layout.h asked_modes).
  std::array<std::optional<ExchangeMode>, kNumLinearGroups> asked;
  LinkSpeeds speeds;
  // What base, adapters, gradients, moments and gathered experts of one rank may take; 0: no limit.
  double memory_limit = 0;
};

struct ExchangeChoice {
  ExchangeModes modes;
  std::array<std::string, kNumLinearGroups> reasons;  // a sentence each, without full stop
};

// Takes what is asked for; for `auto` the modes with the shortest predicted step among those whose
// memory keeps the limit, or those with the least memory when none does. Equal times: the first of
// replicate, rank, gather, tokens. A pure function, so that all ranks agree.
// REQUIRES: check_layout accepts the modes asked for.
ExchangeChoice choose_exchange(const PlanInput& input, const ChoiceRequest& request);

}  // namespace molora
