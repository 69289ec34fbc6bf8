#include "watch/flight_index.h"

#include <algorithm>

namespace molora {

FlightIndex::FlightIndex(std::span<const RankRecord> records, int world_size)
    : world_size_(world_size) {
  for (const RankRecord& record : records) {
    const int rank = static_cast<int>(record.state().rank());
    if (rank < world_size) by_rank_[rank] = &record;
  }
  for (const auto& [rank, record] : by_rank_) add(*record);
}

void FlightIndex::add(const RankRecord& record) {
  const int rank = static_cast<int>(record.state().rank());
  for (const CommunicatorInfo& info : record.communicators()) {
    names_[info.id()] = info.name();
    members_[info.id()].assign(info.ranks().begin(), info.ranks().end());
  }
  for (const CollectiveEvent& event : record.events()) {
    std::vector<Entry>& entries = collectives_[key_of(event)];
    // A rank that waits later for what it has begun is noted twice: the first time counts.
    if (entries.empty() || entries.back().rank != rank) entries.push_back({rank, &event});
    uint64_t& newest = newest_[{rank, event.communicator()}];
    newest = std::max<uint64_t>(newest, event.sequence());
  }
}

const RankRecord* FlightIndex::record(int rank) const {
  const auto found = by_rank_.find(rank);
  return found == by_rank_.end() ? nullptr : found->second;
}

std::string FlightIndex::host(int rank) const {
  const RankRecord* found = record(rank);
  return found == nullptr ? std::string() : found->state().host();
}

std::string FlightIndex::name(uint64_t communicator) const {
  const auto found = names_.find(communicator);
  return found == names_.end() ? std::string() : found->second;
}

const std::vector<int>& FlightIndex::members(uint64_t communicator) const {
  static const std::vector<int> kNone;
  const auto found = members_.find(communicator);
  return found == members_.end() ? kNone : found->second;
}

bool FlightIndex::has_entered(int rank, const CollectiveKey& key) const {
  const auto found = newest_.find({rank, key.communicator});
  return found != newest_.end() && found->second >= key.sequence;
}

bool FlightIndex::is_dead(int rank) const {
  const RankRecord* found = record(rank);
  return found == nullptr || found->state().process() != RankState::running;
}

const CollectiveEvent* FlightIndex::blocked_in(int rank) const {
  if (is_dead(rank)) return nullptr;
  const RankRecord& found = *record(rank);
  if (found.events().empty()) return nullptr;
  const CollectiveEvent& latest = *found.events().rbegin();
  const bool is_alone = members(latest.communicator()).size() == 1;  // such a one ends at once
  return latest.is_over() || is_alone ? nullptr : &latest;
}

std::vector<int> FlightIndex::blocked_ranks() const {
  std::vector<int> ranks;
  for (const auto& [rank, record] : by_rank_) {
    if (blocked_in(rank) != nullptr) ranks.push_back(rank);
  }
  return ranks;
}

std::vector<int> FlightIndex::waits_for(int rank) const {
  const CollectiveKey key = key_of(*blocked_in(rank));
  std::vector<int> missing;
  std::vector<int> dead;
  for (const int member : members(key.communicator)) {
    if (!has_entered(member, key)) missing.push_back(member);
    if (is_dead(member)) dead.push_back(member);
  }
  return missing.empty() ? dead : missing;
}

}  // namespace molora
