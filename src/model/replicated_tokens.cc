#include "model/replicated_tokens.h"

#include "base/mutation.h"

namespace molora {

RoutingContext counted_once(const ForwardPass& pass) {
  RoutingContext routing = statistics_once(pass);
  if (pass.tp().rank() != 0 && !MOLORA_MUTANT(kAuxiliaryOnEveryRank)) routing.auxiliary = nullptr;
  return routing;
}

RoutingContext statistics_once(const ForwardPass& pass) {
  RoutingContext routing = routing_of(pass.context(), token_ids(pass.context().batch));
  if (pass.tp().rank() != 0 && !MOLORA_MUTANT(kStatisticsOnEveryRank)) routing.statistics = nullptr;
  return routing;
}

Routing row_routing(const Tensor& partial_TZ, const LinearAdapter& adapter,
                    const ForwardPass& pass) {
  // Logits of tasks are whole on every rank, as a column-parallel linear's.
  if (adapter.spec.routes_by_task) return route_product({}, adapter, counted_once(pass));
  return route_partial_product(partial_TZ, adapter, statistics_once(pass), pass.tp());
}

RoutingContext own_routing(const ForwardPass& pass) {
  return routing_of(pass.context(), token_ids(pass.context().batch, pass.own_tokens()));
}

}  // namespace molora
