// What a worker process was doing, kept where its end does not take it along.
//
// The box lies in memory that the worker shares with the agent beside it (launcher/rank_agent.h),
// which forked it: the worker writes without locks or system calls, the agent reads at any time,
// also when the worker is stopped, stuck or dead. Nothing in the worker has to be alive for its
// last collectives to be known.
//
// One thread writes: the one that works and issues collectives, which binds the box to itself. Any
// number of readers, in any process that has inherited the memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "run_config.pb.h"
#include "supervision.pb.h"
#include "watch/place.h"

namespace molora {

class BlackBox {
 public:
  // In memory that children of this process share. Throws: IoError.
  static std::unique_ptr<BlackBox> make();
  ~BlackBox();
  BlackBox(const BlackBox&) = delete;
  BlackBox& operator=(const BlackBox&) = delete;
  BlackBox(BlackBox&&) = delete;
  BlackBox& operator=(BlackBox&&) = delete;

  // --- Writer ---
  void set_rank(int rank, int world_size);
  // Where the run writes and how long its phases may take.
  void set_run(const std::filesystem::path& folder, const SupervisorConfig& config);
  void enter_phase(Phase phase);
  void set_step(int64_t steps_done);
  void set_saved_step(int64_t step);
  // Something was done; the deadline of the phase counts from here.
  void tick();
  void set_place(const WorkPlace& place);
  // Notes a group that this rank belongs to; returns its id, the same on all members when they use
  // their groups for the first time in the same order. Beyond kMaxCommunicators it is not named in
  // reports.
  uint64_t add_communicator(const std::string& name, std::span<const int> world_ranks);
  void enter_collective(uint64_t communicator, uint64_t sequence, const char* operation,
                        uint64_t bytes_sent);
  void leave_collective();
  // The error that this process is about to leave by. The first one stays.
  void set_failure(FaultKind fault, int exit_code, const std::string& message);

  // --- Readers ---
  Phase phase() const;
  // All that the box knows; fields about the process itself (host, pid, memory) are not set.
  RankState state() const;
  // The same with the latest collectives, at most so many, oldest first.
  RankRecord record(size_t max_events = kCapacity) const;
  std::filesystem::path folder() const;  // "" before set_run()
  double heartbeat_timeout() const;
  // The failure, if one was noted: fault, exit_code and message are set.
  Departure failure() const;

  static constexpr size_t kCapacity = 8192;
  static constexpr size_t kMaxCommunicators = 64;

 private:
  struct Shared;
  void fill(RankState& state) const;
  void add_latest_events(size_t most, RankRecord& record) const;
  explicit BlackBox(Shared* shared) : shared_(shared) {}
  Shared* shared_;
};

// The box that this thread writes to, or none: then nothing is noted.
BlackBox* thread_black_box();
void bind_black_box(BlackBox* box);

// The phase of this thread's box while it lives; the one before comes back, but not when an
// exception leaves the scope: the box keeps the phase that it came from.
class PhaseScope {
 public:
  explicit PhaseScope(Phase phase);
  ~PhaseScope();
  PhaseScope(const PhaseScope&) = delete;
  PhaseScope& operator=(const PhaseScope&) = delete;
  PhaseScope(PhaseScope&&) = delete;
  PhaseScope& operator=(PhaseScope&&) = delete;

 private:
  Phase before_;
  int num_exceptions_;
};

}  // namespace molora
