// Who keeps the others waiting: the flight records of all ranks, laid side by side.
//
// A run of many ranks is one program: every member of a group issues the same collectives in the
// same order. So there are two ways to hang, and the records tell them apart: a rank has not come
// to a collective in which others wait (it is stopped, gone, computing, or itself waits for a third
// one: the chain is followed to its end), or a rank has come to another collective than the others
// (it left one out, or did one too many).
#pragma once

#include <optional>
#include <span>
#include <string>

#include "supervision.pb.h"

namespace molora {

struct Divergence {
  enum class Kind {
    kLate,      // `rank` has not entered the collective that others are in
    kMismatch,  // `rank` is in another collective than the others of its group
    kAlone,     // no rank waits for another: `rank` makes no progress by itself
    kUnclear,   // the records do not decide between ranks; the sentence names all that is known
  };
  Kind kind = Kind::kUnclear;
  std::optional<int> rank;
  std::string host;
  // Of the collective that `rank` is missing from or that it should be in; empty with kAlone.
  std::string communicator;
  std::string operation;
  uint64_t sequence = 0;
  std::string place;  // of that collective; with kAlone of `rank`
  int64_t step = 0;
  // All of it for a person: "rank 1 (host b) has not entered all_to_all #212 of ep, in which ranks
  // 0, 2, 3 wait for 31 s (layer 3 down_proj, backward, step 7): it is stopped by a signal".
  std::string sentence;
};

// Ranks of the world that have no record are taken for gone, `world_size` says how many there are.
Divergence compare_records(std::span<const RankRecord> records, int world_size);

}  // namespace molora
