#include "watch/flight_words.h"

#include <algorithm>

#include <fmt/format.h>

#include "watch/fault_kind.h"

namespace molora {

namespace {

// "0, 2, 3"; "0-6, 8" where three or more follow each other.
std::string list_text(std::vector<int> ranks) {
  std::sort(ranks.begin(), ranks.end());
  std::string text;
  for (size_t begin = 0; begin < ranks.size();) {
    size_t end = begin + 1;
    while (end < ranks.size() && ranks[end] == ranks[end - 1] + 1) ++end;
    if (end - begin < 3) end = begin + 1;
    text += fmt::format("{}{}", text.empty() ? "" : ", ", ranks[begin]);
    if (end - begin > 1) text += fmt::format("-{}", ranks[end - 1]);
    begin = end;
  }
  return text;
}

std::string steps_text(int64_t steps_done) {
  return steps_done == 1 ? "1 step done" : fmt::format("{} steps done", steps_done);
}

}  // namespace

const char* verb(const std::vector<int>& ranks, const char* one, const char* many) {
  return ranks.size() == 1 ? one : many;
}

std::string waited_text(double seconds) {
  return seconds < 10.0 ? fmt::format("{:.1f} s", seconds) : fmt::format("{:.0f} s", seconds);
}

std::string who(const FlightIndex& index, const std::vector<int>& ranks) {
  if (ranks.size() != 1) return "ranks " + list_text(ranks);
  const std::string host = index.host(ranks.front());
  return fmt::format("rank {}{}", ranks.front(), host.empty() ? "" : " (host " + host + ")");
}

std::string collective_text(const FlightIndex& index, const CollectiveEvent& event) {
  const std::string name = index.name(event.communicator());
  return fmt::format("{} #{} of {}", event.operation(), event.sequence(),
                     name.empty() ? "a group without a name" : name);
}

std::string where(const CollectiveEvent& event) {
  return fmt::format("({}{}{})", event.place(), event.place().empty() ? "" : ", ",
                     steps_text(event.step()));
}

std::string state_text(const FlightIndex& index, int rank) {
  const RankRecord* record = index.record(rank);
  if (record == nullptr) return "nothing is heard of it, its host or its process is gone";
  const RankState& state = record->state();
  const std::string place =
      fmt::format("{}{}, {}", state.place().empty() ? "in phase " : state.place() + ", in phase ",
                  phase_text(state.phase()), steps_text(state.step()));
  switch (state.process()) {
    case RankState::stopped:
      return fmt::format("it is stopped by a signal ({})", place);
    case RankState::ended:
      return fmt::format("its process has ended ({})", place);
    case RankState::running:
      break;
  }
  return fmt::format("it is at work ({}) and has come no further for {}", place,
                     waited_text(state.seconds_since_progress()));
}

Divergence at_collective(const FlightIndex& index, const CollectiveEvent& event) {
  Divergence divergence;
  divergence.communicator = index.name(event.communicator());
  divergence.operation = event.operation();
  divergence.sequence = event.sequence();
  divergence.place = event.place();
  divergence.step = event.step();
  return divergence;
}

void blame(Divergence& divergence, const FlightIndex& index, Divergence::Kind kind, int rank) {
  divergence.kind = kind;
  divergence.rank = rank;
  divergence.host = index.host(rank);
}

}  // namespace molora
