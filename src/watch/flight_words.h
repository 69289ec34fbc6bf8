// The words in which a comparison of flight records is told.
#pragma once

#include <string>
#include <vector>

#include "watch/flight_comparison.h"
#include "watch/flight_index.h"

namespace molora {

// "rank 1 (host b)"; "ranks 0, 2, 3"; "ranks 0-6, 8" where three or more follow each other.
std::string who(const FlightIndex& index, const std::vector<int>& ranks);

// The form of a verb that goes with them.
const char* verb(const std::vector<int>& ranks, const char* one, const char* many);

// "all_to_all #212 of ep".
std::string collective_text(const FlightIndex& index, const CollectiveEvent& event);

// "(layer 3 down_proj, backward, 6 steps done)".
std::string where(const CollectiveEvent& event);

// "3.2 s", "31 s".
std::string waited_text(double seconds);

// Why nothing comes from a rank: "it is stopped by a signal (layer 3, in phase step, 6 steps
// done)".
std::string state_text(const FlightIndex& index, int rank);

// With the fields that name the collective; nobody is to blame yet.
Divergence at_collective(const FlightIndex& index, const CollectiveEvent& event);

// Fills in whose fault it is.
void blame(Divergence& divergence, const FlightIndex& index, Divergence::Kind kind, int rank);

}  // namespace molora
