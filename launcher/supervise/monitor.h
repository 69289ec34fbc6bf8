// Decides, from what is heard of the ranks in one start of the run, whether it goes on or is over,
// and why. A state machine without sockets, processes or a clock: events come in with the time, in
// seconds from any beginning; tick() says what is to be done.
//
// It is over when every rank has left well, when one has left badly (2 s are given to the others
// to say what they know), when a rank is not heard of any more, or when no progress is made for
// longer than the deadline of a rank's phase; then all are asked for their flight records first.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "launcher/supervise/attempt_end.h"
#include "supervision.pb.h"
#include "watch/flight_comparison.h"

namespace molora {

class Monitor {
 public:
  using Compare = std::function<Divergence(std::span<const RankRecord>, int world_size)>;
  struct Options {
    int world_size = 1;
    int attempt = 1;                 // of the run, from 1
    double heartbeat_timeout = 0.0;  // seconds
    double start_deadline = 0.0;     // seconds until every rank must have been heard of
    std::vector<std::string> hosts;  // where each rank is meant to be; may be empty
    std::string launcher;            // "mpirun", for words
    Compare compare;
  };
  Monitor(Options options, double now);

  // --- Events. Of ranks below world_size only. ---
  void hello(const AgentHello& hello, double now);
  void state(int rank, const RankState& state, double now);
  void record(int rank, const RankRecord& record, double now);
  // May come twice: the worker's own word first, then how it ended.
  void departure(int rank, const Departure& departure, double now);
  void connection_lost(int rank, double now);
  void launcher_ended(int exit_code, double now);

  enum class Action { kNothing, kAskForRecords, kEnd };
  // To be called a few times a second. kAskForRecords comes once; kEnd stays.
  Action tick(double now);

  // After kEnd: why, or nullopt when the ranks have left with 0 or 75.
  const std::optional<Reason>& reason() const { return reason_; }
  // After kEnd.
  int exit_code() const;

  // The newest step that any rank has saved, and the one that the ranks began with.
  int64_t saved_step() const { return saved_step_; }
  int64_t first_saved_step() const { return first_saved_step_.value_or(0); }
  bool was_heard_of() const { return num_heard_ > 0; }

 private:
  struct Watched {
    bool has_hello = false;
    std::string host;
    double heard_at = 0.0;
    RankState last;
    std::optional<double> stopped_since;
    std::optional<RankEnd> end;
    std::optional<RankRecord> record;
    bool is_alive() const { return has_hello && !end; }
  };
  enum class Stage { kWatching, kGatheringEnds, kGatheringRecords, kOver };

  void look(double now);
  void look_for_ends(double now);
  void look_for_silence(double now);
  void look_for_expiry(double now);
  bool is_held_up_by_stopped(const Watched& rank, double now) const;
  void gather_ends(double now);
  void decide_ends();
  void decide_hang();
  void decide_missing();
  void decide_launch_failed();
  void finish(std::optional<Reason> reason);
  RankEnd end_of(int rank, RankEnd::Kind kind, double now) const;
  bool have_all_ended() const;

  Options options_;
  double started_at_;
  Stage stage_ = Stage::kWatching;
  bool wants_records_ = false;
  double until_ = 0.0;  // of the gathering
  std::vector<Watched> ranks_;
  int num_heard_ = 0;
  std::optional<int> launcher_code_;
  std::optional<Reason> reason_;
  int64_t saved_step_ = 0;
  std::optional<int64_t> first_saved_step_;
};

}  // namespace molora
