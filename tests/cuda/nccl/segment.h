// The shared memory of one communicator: what ranks tell one another, and the bytes on their way.
//
// A segment is a file in /dev/shm that is mapped once per process, whatever the number of its ranks
// in that process, and unlinked as soon as all ranks have come; where some never come, when a
// process that waited for them ends, or by the next sweep_segments(). A process locks the byte of
// each of its ranks; the kernel takes the locks back when the process dies, which is how others
// know. The locks are those of open files (F_OFD_SETLK): opening the file a second time does not
// lose them. All fields start as zero bytes. Waits sleep on the doorbell, a futex.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "operation.h"

namespace molora::fake_nccl {

constexpr int kMaxRanks = 64;
constexpr size_t kRoundBytes = size_t{256} << 10;
constexpr size_t kChannelBytes = size_t{64} << 10;

enum class Presence : uint32_t { kAbsent, kLive, kLeft, kAborted };

// What a rank says of the collective that a round belongs to.
struct CollectiveHeader {
  OperationKind kind;
  ncclDataType_t type;
  ncclRedOp_t reduction;
  int32_t root;
  uint64_t count;
  uint64_t number;  // 1 for the first collective
};

// What a rank's stream is at, for others that wait for it.
enum class Activity : uint32_t { kNone, kCollective, kPeers };

struct RankSlot {
  std::atomic<Presence> presence;
  int32_t pid;
  int32_t bus;
  uint64_t host;
  // Rounds of collectives: data of round r lies in buffer r % 2.
  std::atomic<uint64_t> written;
  std::atomic<uint64_t> read;
  CollectiveHeader headers[2];
  std::atomic<Activity> activity;
  char doing[96];                       // the same in words
  std::atomic<uint64_t> serial;         // changes with every operation
  std::atomic<uint64_t> needs_written;  // in a collective: rounds that all must have written
  std::atomic<uint64_t> sends_to;       // among peers: bit per rank with an unfinished send
  std::atomic<uint64_t> recvs_from;
  std::atomic<uint32_t> is_finalized;
  std::atomic<uint64_t> splits;
  int32_t split_color[2];
  int32_t split_key[2];
};

// Messages from one rank to another, a piece at a time.
struct Channel {
  std::atomic<uint64_t> written;
  std::atomic<uint64_t> read;
  uint64_t count;  // of the message that the piece belongs to
  ncclDataType_t type;
};

struct Control {
  std::atomic<uint32_t> num_ranks;
  std::atomic<uint32_t> doorbell;
  std::atomic<uint32_t> num_arrived;  // those that are refused included
  std::atomic<uint32_t> num_attached;
  std::atomic<uint32_t> is_failing;  // somebody writes the text
  std::atomic<uint32_t> has_failed;
  char failure_text[1024];
};

class Segment {
 public:
  // Creates it, or maps what another rank has created. The same object for all ranks of a process.
  // Throws std::runtime_error when the system refuses.
  static std::shared_ptr<Segment> open(const std::string& id, int num_ranks);
  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;
  Segment(Segment&&) = delete;
  Segment& operator=(Segment&&) = delete;

  // Once for each rank, before anything else; the last to arrive removes the name.
  void arrive() const;
  // False when another rank has said another number of ranks; then nothing else may be used.
  bool agrees_on_ranks() const;
  // Comes as this rank, on this device of this host. False when somebody has before.
  bool enter(int rank, int bus, uint64_t host);
  // Whether this rank came and its process has died since.
  bool has_died(int rank) const;
  int num_ranks() const { return num_ranks_; }
  Control& control() const { return *control_; }
  RankSlot& slot(int rank) const { return slots_[rank]; }
  Channel& channel(int from, int to) const { return channels_[from * num_ranks_ + to]; }
  std::byte* round_data(int rank, uint64_t round) const;
  std::byte* channel_data(int from, int to) const;

  uint32_t doorbell() const { return control_->doorbell.load(); }
  void ring() const;
  // Sleeps until somebody has rung since doorbell() was `seen`, or for this long.
  void sleep(uint32_t seen, std::chrono::milliseconds at_most) const;

  // Records the failure of the whole communicator, once; false when there is one already. Allowed
  // too when the ranks disagree on their number.
  bool fail(const std::string& text) const;

 private:
  Segment(std::string name, int num_ranks);
  void map();

  std::string name_;
  int num_ranks_;
  int file_ = -1;
  std::byte* memory_ = nullptr;
  size_t bytes_ = 0;
  Control* control_ = nullptr;
  RankSlot* slots_ = nullptr;
  Channel* channels_ = nullptr;
  std::byte* rounds_ = nullptr;
  std::byte* pieces_ = nullptr;
};

// Removes segments of jobs that were killed before all their ranks had come.
void sweep_segments();

}  // namespace molora::fake_nccl
