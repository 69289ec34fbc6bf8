// Ranks of one group that have come to different collectives: where that began, and who is wrong.
#pragma once

#include <optional>

#include "watch/flight_comparison.h"
#include "watch/flight_index.h"

namespace molora {

// Of the first collective (by CollectiveEvent.order) in which members of a group have not done the
// same. The fewest are wrong; where that does not decide, those that have done what is not usual
// (flight_history.h). kUnclear when neither does. Nothing when all ranks agree, as far as their
// records reach back.
std::optional<Divergence> find_mismatch(const FlightIndex& index);

}  // namespace molora
