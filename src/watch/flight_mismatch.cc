#include "watch/flight_mismatch.h"

#include <algorithm>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "watch/flight_history.h"
#include "watch/flight_words.h"

namespace molora {

namespace {

using Entry = FlightIndex::Entry;

bool is_same(const CollectiveEvent& a, const CollectiveEvent& b) {
  return a.operation() == b.operation() && a.place() == b.place() && a.step() == b.step();
}

// The members that have done the same.
struct Party {
  const CollectiveEvent* event = nullptr;  // of the first of them
  std::vector<int> ranks;
};

std::vector<Party> parties_of(const std::vector<Entry>& entries) {
  std::vector<Party> parties;
  for (const Entry& entry : entries) {
    const auto same = std::find_if(parties.begin(), parties.end(), [&](const Party& party) {
      return is_same(*party.event, *entry.event);
    });
    Party& party = same == parties.end() ? parties.emplace_back() : *same;
    if (party.event == nullptr) party.event = entry.event;
    party.ranks.push_back(entry.rank);
  }
  return parties;
}

// The collective that was the first to have more than one party; nullptr when all agree.
const std::vector<Entry>* first_mismatch(const FlightIndex& index) {
  const std::vector<Entry>* first = nullptr;
  uint64_t first_order = 0;
  for (const auto& collective : index.collectives()) {
    const std::vector<Entry>& entries = collective.second;
    const CollectiveEvent& example = *entries.front().event;
    const bool agree = std::all_of(entries.begin(), entries.end(), [&](const Entry& entry) {
      return is_same(*entry.event, example);
    });
    if (agree) continue;
    uint64_t order = example.order();
    for (const Entry& entry : entries) order = std::min<uint64_t>(order, entry.event->order());
    if (first == nullptr || order < first_order) {
      first = &entries;
      first_order = order;
    }
  }
  return first;
}

// The party that is right: the largest, or of equally large ones the one that has done what is
// usual. nullptr when that does not decide.
const Party* right_party(const FlightIndex& index, const std::vector<Party>& parties) {
  size_t largest = 0;
  for (const Party& party : parties) largest = std::max(largest, party.ranks.size());
  std::vector<const Party*> candidates;
  for (const Party& party : parties) {
    if (party.ranks.size() == largest) candidates.push_back(&party);
  }
  if (candidates.size() == 1) return candidates.front();
  FlightHistory history(index);
  std::vector<const CollectiveEvent*> events;
  for (const Party& party : parties) {
    events.push_back(party.event);
    for (const int rank : party.ranks) {
      // All that went wrong began here.
      for (const CollectiveEvent& event : index.record(rank)->events()) {
        if (key_of(event) == key_of(*party.event)) history.cut(rank, event);
      }
    }
  }
  const Party* right = nullptr;
  for (const Party* party : candidates) {
    const auto verdict = history.judge(party->ranks.front(), *party->event, events);
    if (verdict == FlightHistory::Verdict::kUnusual) continue;
    if (right != nullptr) return nullptr;
    right = party;
  }
  return right;
}

std::string doing_text(const FlightIndex& index, const Party& party) {
  return fmt::format("{} came to {} {}", who(index, party.ranks), party.event->operation(),
                     where(*party.event));
}

Divergence compare_parties(const FlightIndex& index, const std::vector<Party>& parties) {
  const Party* right = right_party(index, parties);
  const CollectiveEvent& here = right == nullptr ? *parties.front().event : *right->event;
  Divergence divergence = at_collective(index, here);
  const std::string collective =
      fmt::format("collective #{} of {}", here.sequence(), index.name(here.communicator()));
  std::vector<std::string> doings;
  std::vector<int> wrong;
  const Party* first_wrong = nullptr;
  for (const Party& party : parties) {
    doings.push_back(doing_text(index, party));
    if (&party == right) continue;
    wrong.insert(wrong.end(), party.ranks.begin(), party.ranks.end());
    if (first_wrong == nullptr || party.ranks.front() < first_wrong->ranks.front()) {
      first_wrong = &party;
    }
  }
  if (right == nullptr) {
    divergence.sentence =
        fmt::format("{} disagree about {}: {}; the records do not tell which of them is right",
                    who(index, wrong), collective, fmt::join(doings, ", "));
    return divergence;
  }
  blame(divergence, index, Divergence::Kind::kMismatch, first_wrong->ranks.front());
  const bool has_left_out = FlightHistory(index).has_followed(*right->event, *first_wrong->event) &&
                            first_wrong->event->operation() + first_wrong->event->place() !=
                                right->event->operation() + right->event->place();
  std::sort(wrong.begin(), wrong.end());
  divergence.sentence = fmt::format(
      "{} {} not in step with the others at {}: {}; {}", who(index, wrong),
      verb(wrong, "is", "are"), collective, fmt::join(doings, ", "),
      has_left_out ? fmt::format("{} left that {} out", verb(wrong, "it has", "they have"),
                                 right->event->operation())
                   : fmt::format("{} left one out or done one too many",
                                 verb(wrong, "it has", "they have")));
  return divergence;
}

}  // namespace

std::optional<Divergence> find_mismatch(const FlightIndex& index) {
  const std::vector<Entry>* mismatch = first_mismatch(index);
  if (mismatch == nullptr) return std::nullopt;
  return compare_parties(index, parties_of(*mismatch));
}

}  // namespace molora
