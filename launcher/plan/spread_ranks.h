// Which host gets how many ranks.
#pragma once

#include <optional>
#include <vector>

#include "launcher/plan/hosts.h"

namespace molora {

// `num_ranks` over the hosts, evenly, in whole groups of `group` (ranks that talk most) where they
// fit; in the order of `room`, hosts without a rank left out. `room`: ranks that a host has room
// for, kUnknownSlots: any number. nullopt when they do not fit.
// REQUIRES: num_ranks >= 1, group >= 1.
std::optional<std::vector<Host>> spread_ranks(int num_ranks, int group,
                                              const std::vector<Host>& room);

}  // namespace molora
