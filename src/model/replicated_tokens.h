// Routing where every tp rank sees the same tokens: what all of them do is counted once.
#pragma once

#include "base/mutation.h"
#include "model/parallel_layout.h"

namespace molora {

// For logits that each rank computes whole and whose gradients are summed over tp: statistics and
// the auxiliary gradient come from the first rank alone.
inline RoutingContext counted_once(const ForwardPass& pass) {
  RoutingContext routing = pass.context().routing;
  if (pass.tp().rank() == 0) return routing;
  routing.statistics = nullptr;
  if (!MOLORA_MUTANT(kAuxiliaryOnEveryRank)) routing.auxiliary = nullptr;
  return routing;
}

// For logits whose gradient is whole on every rank: statistics alone.
inline RoutingContext statistics_once(const ForwardPass& pass) {
  RoutingContext routing = pass.context().routing;
  if (pass.tp().rank() != 0) routing.statistics = nullptr;
  return routing;
}

}  // namespace molora
