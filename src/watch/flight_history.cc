#include "watch/flight_history.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace molora {

namespace {

// Stretches of the program that are looked for, longest first.
constexpr std::array<size_t, 6> kStretches = {32, 16, 8, 4, 2, 1};

std::string kind_text(const FlightIndex& index, const CollectiveEvent& event) {
  return fmt::format("{}|{}|{}", index.name(event.communicator()), event.operation(),
                     event.place());
}

}  // namespace

FlightHistory::FlightHistory(const FlightIndex& index) : index_(index) {
  for (int rank = 0; rank < index.world_size(); ++rank) {
    const RankRecord* record = index.record(rank);
    if (record == nullptr) continue;
    for (const CollectiveEvent& event : record->events()) {
      const auto next = static_cast<int>(kinds_.size());
      const auto [kind, is_new] = kinds_.emplace(kind_text(index, event), next);
      programs_[rank].push_back(kind->second);
    }
  }
}

int FlightHistory::kind_of(const CollectiveEvent& event) const {
  return kinds_.at(kind_text(index_, event));
}

void FlightHistory::cut(int rank, const CollectiveEvent& event) {
  const auto& events = index_.record(rank)->events();
  const auto at = std::find_if(events.begin(), events.end(), [&](const CollectiveEvent& other) {
    return other.order() >= event.order();
  });
  std::vector<int>& program = programs_.at(rank);
  program.resize(std::min(program.size(), static_cast<size_t>(at - events.begin())));
}

size_t FlightHistory::count(std::span<const int> before, int next) const {
  size_t found = 0;
  for (const auto& [rank, program] : programs_) {
    for (size_t i = before.size(); i < program.size(); ++i) {
      if (program[i] != next) continue;
      const auto begin = program.begin() + static_cast<std::ptrdiff_t>(i - before.size());
      if (std::equal(before.begin(), before.end(), begin)) ++found;
    }
  }
  return found;
}

FlightHistory::Verdict FlightHistory::judge(int rank, const CollectiveEvent& own,
                                            std::span<const CollectiveEvent* const> others) const {
  const std::span<const int> program(programs_.at(rank));
  for (const size_t stretch : kStretches) {
    if (program.size() < stretch) continue;
    const std::span<const int> before = program.last(stretch);
    const size_t with_own = count(before, kind_of(own));
    size_t with_others = 0;
    for (const CollectiveEvent* other : others) {
      if (kind_of(*other) == kind_of(own)) continue;
      with_others = std::max(with_others, count(before, kind_of(*other)));
    }
    if (with_own > with_others) return Verdict::kUsual;
    if (with_own < with_others) return Verdict::kUnusual;
  }
  return Verdict::kUnknown;
}

bool FlightHistory::has_followed(const CollectiveEvent& first,
                                 const CollectiveEvent& second) const {
  const std::array<int, 1> before = {kind_of(first)};
  return count(before, kind_of(second)) > 0;
}

}  // namespace molora
