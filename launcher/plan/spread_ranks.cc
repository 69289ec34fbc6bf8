#include "launcher/plan/spread_ranks.h"

#include <algorithm>

#include "base/check.h"

namespace molora {

namespace {

// The host with the fewest ranks that has room for `more`; the first of equals.
std::optional<size_t> emptiest(const std::vector<Host>& room, const std::vector<int>& placed,
                               int more) {
  std::optional<size_t> best;
  for (size_t i = 0; i < room.size(); ++i) {
    const bool fits = room[i].slots == kUnknownSlots || placed[i] + more <= room[i].slots;
    if (fits && (!best || placed[i] < placed[*best])) best = i;
  }
  return best;
}

}  // namespace

std::optional<std::vector<Host>> spread_ranks(int num_ranks, int group,
                                              const std::vector<Host>& room) {
  MOLORA_CHECK(num_ranks >= 1 && group >= 1, "{} ranks in groups of {}", num_ranks, group);
  std::vector<int> placed(room.size(), 0);
  int left = num_ranks;
  while (left > 0) {
    int more = std::min(left, group);
    std::optional<size_t> host = emptiest(room, placed, more);
    if (!host) {
      more = 1;
      host = emptiest(room, placed, more);
    }
    if (!host) return std::nullopt;
    placed[*host] += more;
    left -= more;
  }
  std::vector<Host> hosts;
  for (size_t i = 0; i < room.size(); ++i) {
    if (placed[i] > 0) hosts.push_back({room[i].name, placed[i]});
  }
  return hosts;
}

}  // namespace molora
