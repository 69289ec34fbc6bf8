#include "model/replicated_tokens.h"

#include "base/mutation.h"

namespace molora {

RoutingContext counted_once(const ForwardPass& pass) {
  RoutingContext routing = statistics_once(pass);
  if (pass.tp().rank() != 0 && !MOLORA_MUTANT(kAuxiliaryOnEveryRank)) routing.auxiliary = nullptr;
  return routing;
}

RoutingContext statistics_once(const ForwardPass& pass) {
  RoutingContext routing = pass.context().routing;
  if (pass.tp().rank() != 0 && !MOLORA_MUTANT(kStatisticsOnEveryRank)) routing.statistics = nullptr;
  return routing;
}

}  // namespace molora
