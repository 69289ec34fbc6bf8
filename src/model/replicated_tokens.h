// Routing where every tp rank sees the same tokens: what all of them do is counted once.
#pragma once

#include "model/parallel_layout.h"

namespace molora {

// For logits that each rank computes whole and whose gradients are summed over tp: statistics and
// the auxiliary gradient come from the first rank alone.
RoutingContext counted_once(const ForwardPass& pass);

// For logits whose gradient is whole on every rank: statistics alone.
RoutingContext statistics_once(const ForwardPass& pass);

// Of a row-parallel linear, each rank having the router's product with its own columns.
Routing row_routing(const Tensor& partial_TZ, const LinearAdapter& adapter,
                    const ForwardPass& pass);

// For this rank's part of the tokens, which no other rank routes.
RoutingContext own_routing(const ForwardPass& pass);

}  // namespace molora
