#include "comm/flight_record.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "base/check.h"

namespace molora {

const char* collective_name(CollectiveKind kind) {
  switch (kind) {
    case CollectiveKind::kBarrier:
      return "barrier";
    case CollectiveKind::kBroadcast:
      return "broadcast";
    case CollectiveKind::kAllGather:
      return "all_gather";
    case CollectiveKind::kAllToAll:
      return "all_to_all";
  }
  return "?";
}

uint64_t FlightRecord::enter(CollectiveKind kind, uint64_t bytes_sent) {
  ++sequence_;
  waiting_since_ = Clock::now();
  ring_[(sequence_ - 1) % kCapacity] = {sequence_, kind, bytes_sent, waiting_since_, false, {}};
  bytes_[static_cast<size_t>(kind)] += bytes_sent;
  ++calls_[static_cast<size_t>(kind)];
  return sequence_;
}

void FlightRecord::leave() {
  MOLORA_CHECK(sequence_ > 0);
  Entry& entry = ring_[(sequence_ - 1) % kCapacity];
  MOLORA_CHECK(!entry.left, "collective {} left twice", entry.sequence);
  entry.left = true;
  entry.left_at = Clock::now();
  waited_ += entry.left_at - waiting_since_;
}

uint64_t FlightRecord::total_bytes_sent() const {
  return std::accumulate(bytes_.begin(), bytes_.end(), uint64_t{0});
}

std::vector<FlightRecord::Entry> FlightRecord::entries() const {
  const uint64_t count = std::min<uint64_t>(sequence_, kCapacity);
  std::vector<Entry> result;
  result.reserve(count);
  for (uint64_t s = sequence_ - count; s < sequence_; ++s) result.push_back(ring_[s % kCapacity]);
  return result;
}

std::string FlightRecord::summary(size_t count) const {
  const std::vector<Entry> all = entries();
  std::string text;
  for (size_t i = all.size() - std::min(count, all.size()); i < all.size(); ++i) {
    text += fmt::format("{}#{} {} {} bytes{}", text.empty() ? "" : ", ", all[i].sequence,
                        collective_name(all[i].kind), all[i].bytes_sent,
                        all[i].left ? "" : " (not finished)");
  }
  return text.empty() ? "no collective yet" : text;
}

}  // namespace molora
