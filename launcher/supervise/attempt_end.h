// What ended a start of the run: the rank's end that is the cause among those that follow from it,
// and the reason in words.
//
// When one rank breaks, the others do not stay: the launcher kills them, or their next collective
// fails. deciding_end() picks what was first of its kind; the functions behind it write the
// sentence that the owner of the run reads, without what is done about it (Supervisor adds that).
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "supervision.pb.h"
#include "watch/flight_comparison.h"

namespace molora {

// How a rank is gone, as far as it is known.
struct RankEnd {
  enum class Kind {
    kLeft,          // its agent has reported how
    kDisconnected,  // its agent is gone without a word
    kSilent,        // nothing was heard of it for `seconds_silent`
  };
  Kind kind = Kind::kLeft;
  int rank = 0;
  std::string host;
  double at = 0.0;      // when it became known
  Departure departure;  // kLeft
  RankState last;       // what was known of it before
  double seconds_silent = 0.0;
};

// Its fault: the worker's own word, or what its signal or exit code says. FAULT_NONE when it left
// with 0 or 75.
FaultKind fault_of_departure(const Departure& departure);

// Left with 0 or 75 before the last phase.
bool is_early(const RankEnd& end);

// The position of the cause in `ends`; nullopt when all of them are good.
std::optional<size_t> deciding_end(std::span<const RankEnd> ends);

// fault, exit_code, sentence and where it was, of the end at `deciding`. Other silent ranks of its
// host are named with it.
Reason reason_of_end(std::span<const RankEnd> ends, size_t deciding, int world_size);

// A hang (or, when the rank that all wait for does not answer, a lost rank) after an expired
// deadline; `states` are the latest of each rank that was heard of.
Reason reason_of_hang(const Divergence& divergence, std::span<const RankState> states,
                      bool has_record);

// What the owner can do about it; "" when the sentence has said it.
std::string advice(const Reason& reason);

// "in step 8 (layer 3 down_proj, backward)", "while saving after step 7".
std::string where_text(const RankState& state);
// "rank 3", "ranks 1, 2, 5"; no more than eight are listed.
std::string ranks_text(std::span<const int> ranks);

}  // namespace molora
