// What a rank usually does next: the collectives that all ranks have done, read as one program that
// runs in circles. Decides which of two ranks is wrong when they have come to different places.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "watch/flight_index.h"

namespace molora {

class FlightHistory {
 public:
  explicit FlightHistory(const FlightIndex& index);

  // Nothing that this rank did from this event on is taken for usual.
  void cut(int rank, const CollectiveEvent& event);

  // After what `rank` did before it came to `own`: whether it was more usual to go on with `own` or
  // with one of `others` (which may be of other ranks). The longest stretch that has happened
  // before, and that tells them apart, decides. REQUIRES: cut(rank, own).
  enum class Verdict { kUsual, kUnusual, kUnknown };
  Verdict judge(int rank, const CollectiveEvent& own,
                std::span<const CollectiveEvent* const> others) const;

  // Whether `second` has followed on `first` before.
  bool has_followed(const CollectiveEvent& first, const CollectiveEvent& second) const;

 private:
  int kind_of(const CollectiveEvent& event) const;
  size_t count(std::span<const int> before, int next) const;

  const FlightIndex& index_;
  std::map<std::string, int> kinds_;          // group's name, operation and place
  std::map<int, std::vector<int>> programs_;  // by rank, of kinds, up to where it was cut
};

}  // namespace molora
