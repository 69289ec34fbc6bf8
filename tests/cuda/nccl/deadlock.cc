#include "deadlock.h"

#include <array>
#include <cstring>

namespace molora::fake_nccl {

namespace {

uint64_t bit(int rank) { return uint64_t{1} << rank; }

uint64_t waits_in_collective(const Segment& segment, int rank) {
  const uint64_t needed = segment.slot(rank).needs_written.load();
  uint64_t waits = 0;
  for (int other = 0; other < segment.num_ranks(); ++other) {
    if (segment.slot(other).written.load() < needed) waits |= bit(other);
  }
  return waits;
}

uint64_t waits_among_peers(const Segment& segment, int rank) {
  const RankSlot& mine = segment.slot(rank);
  uint64_t waits = 0;
  for (int other = 0; other < segment.num_ranks(); ++other) {
    const RankSlot& theirs = segment.slot(other);
    const bool is_among_peers = theirs.activity.load() == Activity::kPeers;
    const bool receives = is_among_peers && (theirs.recvs_from.load() & bit(rank)) != 0;
    const bool sends = is_among_peers && (theirs.sends_to.load() & bit(rank)) != 0;
    const Channel& from_me = segment.channel(rank, other);
    const Channel& to_me = segment.channel(other, rank);
    const bool is_unread = from_me.written.load() > from_me.read.load();
    const bool is_empty = to_me.written.load() == to_me.read.load();
    if ((mine.sends_to.load() & bit(other)) != 0 && is_unread && !receives) waits |= bit(other);
    if ((mine.recvs_from.load() & bit(other)) != 0 && is_empty && !sends) waits |= bit(other);
  }
  return waits;
}

uint64_t mixed(uint64_t hash, uint64_t value) { return (hash ^ value) * 1099511628211ull; }

}  // namespace

uint64_t waits_of(const Segment& segment, int rank) {
  switch (segment.slot(rank).activity.load()) {
    case Activity::kCollective:
      return waits_in_collective(segment, rank);
    case Activity::kPeers:
      return waits_among_peers(segment, rank);
    case Activity::kNone:
      break;
  }
  return 0;
}

Circle circle_through(const Segment& segment, int rank) {
  std::array<uint64_t, kMaxRanks> reached{};
  Circle circle;
  circle.fingerprint = 14695981039346656037ull;
  for (int i = 0; i < segment.num_ranks(); ++i) {
    const RankSlot& slot = segment.slot(i);
    reached.at(static_cast<size_t>(i)) = waits_of(segment, i);
    for (const uint64_t value : {slot.serial.load(), slot.written.load(), slot.read.load(),
                                 slot.sends_to.load(), slot.recvs_from.load()}) {
      circle.fingerprint = mixed(circle.fingerprint, value);
    }
    circle.fingerprint = mixed(circle.fingerprint, reached.at(static_cast<size_t>(i)));
  }
  const uint64_t direct = reached.at(static_cast<size_t>(rank));
  for (int through = 0; through < segment.num_ranks(); ++through) {
    for (int from = 0; from < segment.num_ranks(); ++from) {
      uint64_t& mask = reached.at(static_cast<size_t>(from));
      if ((mask & bit(through)) != 0) mask |= reached.at(static_cast<size_t>(through));
    }
  }
  for (int next = 0; next < segment.num_ranks() && circle.next < 0; ++next) {
    const bool comes_back =
        next == rank || (reached.at(static_cast<size_t>(next)) & bit(rank)) != 0;
    if ((direct & bit(next)) != 0 && comes_back) circle.next = next;
  }
  return circle;
}

std::string doing_of(const Segment& segment, int rank) {
  const RankSlot& slot = segment.slot(rank);
  if (slot.activity.load() == Activity::kNone) return "nothing";
  return {slot.doing, strnlen(slot.doing, sizeof slot.doing)};
}

}  // namespace molora::fake_nccl
