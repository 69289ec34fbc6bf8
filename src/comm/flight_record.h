// The last collectives of a communicator: what a rank was doing when a run hangs, and how many
// bytes each kind of operation has moved.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace molora {

enum class CollectiveKind { kBarrier, kBroadcast, kAllGather, kAllToAll };
constexpr size_t kNumCollectiveKinds = 4;

const char* collective_name(CollectiveKind kind);

// Not thread-safe: it belongs to one communicator, which belongs to one thread.
class FlightRecord {
 public:
  using Clock = std::chrono::steady_clock;

  struct Entry {
    uint64_t sequence = 0;  // 1 for the first collective
    CollectiveKind kind = CollectiveKind::kBarrier;
    uint64_t bytes_sent = 0;  // to other ranks
    Clock::time_point entered;
    bool left = false;
    Clock::time_point left_at;
  };

  // Notes that the next collective begins; returns its sequence number.
  uint64_t enter(CollectiveKind kind, uint64_t bytes_sent);
  // Notes that what was only begun until now is waited for from here on.
  void resume() { waiting_since_ = Clock::now(); }
  // Notes that the collective of the latest enter() has ended.
  void leave();

  uint64_t sequence() const { return sequence_; }
  uint64_t bytes_sent(CollectiveKind kind) const { return bytes_.at(static_cast<size_t>(kind)); }
  uint64_t calls(CollectiveKind kind) const { return calls_.at(static_cast<size_t>(kind)); }
  uint64_t total_bytes_sent() const;
  // In all collectives that have ended; of those that went on beside other work, the wait for them.
  double waited_seconds() const { return std::chrono::duration<double>(waited_).count(); }
  // Oldest first; at most kCapacity.
  std::vector<Entry> entries() const;
  // The latest entries as text, newest last, for an error message or a log.
  std::string summary(size_t count) const;

  static constexpr size_t kCapacity = 256;

 private:
  std::array<Entry, kCapacity> ring_;
  std::array<uint64_t, kNumCollectiveKinds> bytes_{};
  std::array<uint64_t, kNumCollectiveKinds> calls_{};
  uint64_t sequence_ = 0;
  Clock::time_point waiting_since_;
  Clock::duration waited_{};
};

}  // namespace molora
