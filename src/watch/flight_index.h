// The flight records of all ranks, found by rank and by collective: who is in what, who has not
// come, who waits for whom.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "supervision.pb.h"

namespace molora {

// One collective of one group; the same on all members.
struct CollectiveKey {
  uint64_t communicator = 0;
  uint64_t sequence = 0;
  bool operator==(const CollectiveKey&) const = default;
  bool operator<(const CollectiveKey& other) const {
    return std::tie(communicator, sequence) < std::tie(other.communicator, other.sequence);
  }
};

inline CollectiveKey key_of(const CollectiveEvent& event) {
  return {event.communicator(), event.sequence()};
}

// Refers to the records, which must outlive it.
class FlightIndex {
 public:
  // A rank of the world without a record is gone.
  FlightIndex(std::span<const RankRecord> records, int world_size);

  int world_size() const { return world_size_; }
  // nullptr of a rank that is gone.
  const RankRecord* record(int rank) const;
  // "" when it is not known.
  std::string host(int rank) const;

  // Of a communicator: its name, and its ranks; empty when no record has them.
  std::string name(uint64_t communicator) const;
  const std::vector<int>& members(uint64_t communicator) const;

  struct Entry {
    int rank = 0;
    const CollectiveEvent* event = nullptr;
  };
  // Who has come to each collective, as far as the records reach back; ranks ascending.
  const std::map<CollectiveKey, std::vector<Entry>>& collectives() const { return collectives_; }

  bool has_entered(int rank, const CollectiveKey& key) const;
  // Gone, ended or stopped: nothing comes from it any more.
  bool is_dead(int rank) const;
  // The collective that this rank, which is not dead, is in; nullptr when it is in none.
  const CollectiveEvent* blocked_in(int rank) const;
  std::vector<int> blocked_ranks() const;
  // The members of that collective that keep it from ending: those that have not entered it, or
  // when all have, the dead ones. Empty when neither explains it. REQUIRES: blocked_in(rank).
  std::vector<int> waits_for(int rank) const;

 private:
  void add(const RankRecord& record);

  int world_size_;
  std::map<int, const RankRecord*> by_rank_;
  std::map<uint64_t, std::string> names_;
  std::map<uint64_t, std::vector<int>> members_;
  std::map<CollectiveKey, std::vector<Entry>> collectives_;
  std::map<std::pair<int, uint64_t>, uint64_t> newest_;  // sequence by rank and communicator
};

}  // namespace molora
