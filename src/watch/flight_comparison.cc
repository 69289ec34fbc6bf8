#include "watch/flight_comparison.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include <fmt/format.h>

#include "watch/flight_history.h"
#include "watch/flight_index.h"
#include "watch/flight_mismatch.h"
#include "watch/flight_words.h"

namespace molora {

namespace {

// The ranks that others wait for in the end: each is dead, or in no collective.
std::vector<int> ends_of_waiting(const FlightIndex& index) {
  std::set<int> ends;
  for (const int rank : index.blocked_ranks()) {
    for (const int other : index.waits_for(rank)) {
      if (index.blocked_in(other) == nullptr) ends.insert(other);
    }
  }
  return {ends.begin(), ends.end()};
}

// Ranks of which each waits for the next, and the last one for the first; empty without such.
std::vector<int> waiting_circle(const FlightIndex& index) {
  std::set<int> done;
  std::vector<int> path;
  const std::function<bool(int)> leads_to_circle = [&](int rank) {
    const auto seen = std::find(path.begin(), path.end(), rank);
    if (seen != path.end()) {
      path.erase(path.begin(), seen);
      return true;
    }
    if (index.blocked_in(rank) == nullptr || !done.insert(rank).second) return false;
    path.push_back(rank);
    for (const int next : index.waits_for(rank)) {
      if (leads_to_circle(next)) return true;
    }
    path.pop_back();
    return false;
  };
  for (const int rank : index.blocked_ranks()) {
    if (leads_to_circle(rank)) return path;
  }
  return {};
}

// Those that are in one collective.
struct Waiting {
  const CollectiveEvent* event = nullptr;  // of the one that has waited for longest
  std::vector<int> ranks;
};

// The largest number of ranks that wait for `rank` in one collective.
Waiting waiting_for(const FlightIndex& index, int rank) {
  std::map<CollectiveKey, Waiting> by_key;
  for (const int other : index.blocked_ranks()) {
    const std::vector<int> missing = index.waits_for(other);
    if (std::find(missing.begin(), missing.end(), rank) == missing.end()) continue;
    const CollectiveEvent* event = index.blocked_in(other);
    Waiting& waiting = by_key[key_of(*event)];
    waiting.ranks.push_back(other);
    if (waiting.event == nullptr || event->seconds_ago() > waiting.event->seconds_ago()) {
      waiting.event = event;
    }
  }
  Waiting largest;
  for (const auto& [key, waiting] : by_key) {
    if (waiting.ranks.size() > largest.ranks.size()) largest = waiting;
  }
  return largest;
}

double standing_seconds(const FlightIndex& index, int rank) {
  const RankRecord* record = index.record(rank);
  return record == nullptr ? 0.0 : record->state().seconds_since_progress();
}

// A dead one first, else the one that has stood still for longest.
int first_to_blame(const FlightIndex& index, const std::vector<int>& ranks) {
  return *std::max_element(ranks.begin(), ranks.end(), [&](int a, int b) {
    const bool a_is_dead = index.is_dead(a);
    const bool b_is_dead = index.is_dead(b);
    if (a_is_dead != b_is_dead) return b_is_dead;
    return !a_is_dead && standing_seconds(index, a) < standing_seconds(index, b);
  });
}

Divergence late_rank(const FlightIndex& index, int rank) {
  const Waiting waiting = waiting_for(index, rank);
  Divergence divergence = at_collective(index, *waiting.event);
  blame(divergence, index, Divergence::Kind::kLate, rank);
  const bool has_entered = index.has_entered(rank, key_of(*waiting.event));
  std::vector<int> elsewhere;
  for (const int other : index.blocked_ranks()) {
    if (std::find(waiting.ranks.begin(), waiting.ranks.end(), other) == waiting.ranks.end()) {
      elsewhere.push_back(other);
    }
  }
  divergence.sentence = fmt::format(
      "{} {} {}, in which {} {} waited for {} {}: {}", who(index, {rank}),
      has_entered ? "has come to" : "has not entered", collective_text(index, *waiting.event),
      who(index, waiting.ranks), verb(waiting.ranks, "has", "have"),
      waited_text(waiting.event->seconds_ago()), where(*waiting.event), state_text(index, rank));
  if (!elsewhere.empty()) {
    divergence.sentence += fmt::format("; {} {} in other collectives", who(index, elsewhere),
                                       verb(elsewhere, "waits", "wait"));
  }
  return divergence;
}

// The one of the circle that should be in the collective that another waits for it in, going by
// what is usual; the others must be where they should be.
std::optional<size_t> wrong_in_circle(const FlightIndex& index, const std::vector<int>& circle) {
  FlightHistory history(index);
  for (const int rank : circle) history.cut(rank, *index.blocked_in(rank));
  std::optional<size_t> wrong;
  for (size_t i = 0; i < circle.size(); ++i) {
    const int waits_for_it = circle[(i + circle.size() - 1) % circle.size()];
    const CollectiveEvent* wanted = index.blocked_in(waits_for_it);
    const auto verdict =
        history.judge(circle[i], *index.blocked_in(circle[i]), std::span(&wanted, 1));
    if (verdict == FlightHistory::Verdict::kUsual) continue;
    if (verdict == FlightHistory::Verdict::kUnknown || wrong) return std::nullopt;
    wrong = i;
  }
  return wrong;
}

Divergence judge_circle(const FlightIndex& index, const std::vector<int>& circle) {
  std::string chain;
  for (size_t i = 0; i < circle.size(); ++i) {
    const CollectiveEvent& event = *index.blocked_in(circle[i]);
    chain += fmt::format("{}{} is in {} {} and waits for rank {}", i == 0 ? "" : ", ",
                         who(index, {circle[i]}), collective_text(index, event), where(event),
                         circle[(i + 1) % circle.size()]);
  }
  const std::optional<size_t> wrong = wrong_in_circle(index, circle);
  const size_t before = (wrong.value_or(0) + circle.size() - 1) % circle.size();
  const CollectiveEvent& wanted = *index.blocked_in(circle[before]);
  Divergence divergence = at_collective(index, wanted);
  if (!wrong) {
    divergence.sentence =
        fmt::format("{} wait for each other: {}; the records do not tell which of them is right",
                    who(index, circle), chain);
    return divergence;
  }
  const int rank = circle[*wrong];
  blame(divergence, index, Divergence::Kind::kMismatch, rank);
  divergence.sentence = fmt::format(
      "{} is not in step with the others: it has left out {} {}, in which {} has "
      "waited for {}, and is in {} {}",
      who(index, {rank}), collective_text(index, wanted), where(wanted),
      who(index, {circle[before]}), waited_text(wanted.seconds_ago()),
      collective_text(index, *index.blocked_in(rank)), where(*index.blocked_in(rank)));
  return divergence;
}

// Everybody has come, and it does not end.
Divergence stuck_collective(const FlightIndex& index) {
  const std::vector<int> blocked = index.blocked_ranks();
  const int longest = *std::max_element(blocked.begin(), blocked.end(), [&](int a, int b) {
    return index.blocked_in(a)->seconds_ago() < index.blocked_in(b)->seconds_ago();
  });
  const CollectiveEvent& event = *index.blocked_in(longest);
  std::vector<int> in_it;
  std::set<std::string> hosts;
  for (const int rank : blocked) {
    if (key_of(*index.blocked_in(rank)) != key_of(event)) continue;
    in_it.push_back(rank);
    hosts.insert(index.host(rank));
  }
  Divergence divergence = at_collective(index, event);
  divergence.sentence = fmt::format(
      "every rank has come to {} {}, but {} {} been in it for {}: look at the network between the "
      "hosts ({})",
      collective_text(index, event), where(event), who(index, in_it), verb(in_it, "has", "have"),
      waited_text(event.seconds_ago()), fmt::join(hosts, ", "));
  return divergence;
}

// Nobody waits for anybody.
Divergence lone_rank(const FlightIndex& index) {
  std::vector<int> ranks;
  for (int rank = 0; rank < index.world_size(); ++rank) {
    const RankRecord* record = index.record(rank);
    const bool has_finished = record != nullptr && record->state().process() == RankState::ended &&
                              record->state().phase() == PHASE_FINISH;
    if (!has_finished) ranks.push_back(rank);
  }
  Divergence divergence;
  if (ranks.empty()) {
    divergence.sentence = "every rank has ended after the last step";
    return divergence;
  }
  const int rank = first_to_blame(index, ranks);
  blame(divergence, index, Divergence::Kind::kAlone, rank);
  if (const RankRecord* record = index.record(rank)) {
    divergence.place = record->state().place();
    divergence.step = record->state().step();
  }
  divergence.sentence =
      fmt::format("{}: {}; no rank waits for another", who(index, {rank}), state_text(index, rank));
  return divergence;
}

}  // namespace

Divergence compare_records(std::span<const RankRecord> records, int world_size) {
  const FlightIndex index(records, world_size);
  if (std::optional<Divergence> mismatch = find_mismatch(index)) return *mismatch;
  if (index.blocked_ranks().empty()) return lone_rank(index);
  const std::vector<int> ends = ends_of_waiting(index);
  const bool has_dead =
      std::any_of(ends.begin(), ends.end(), [&](int rank) { return index.is_dead(rank); });
  // A circle never ends; a rank that is at work may yet come.
  const std::vector<int> circle = has_dead ? std::vector<int>() : waiting_circle(index);
  if (!circle.empty()) return judge_circle(index, circle);
  if (!ends.empty()) return late_rank(index, first_to_blame(index, ends));
  return stuck_collective(index);
}

}  // namespace molora
