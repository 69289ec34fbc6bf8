#include "launcher/supervise/monitor.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "watch/fault_kind.h"

namespace molora {

namespace {

constexpr double kSecondsForEnds = 2.0;
constexpr double kSecondsForRecords = 3.0;
// A rank that left with 0 is early only when the others do not follow.
constexpr double kSecondsForOthersToFollow = 5.0;

Reason plain_reason(FaultKind fault, const std::string& sentence) {
  Reason reason;
  reason.set_fault(fault);
  reason.set_exit_code(static_cast<int>(exit_code_of(fault)));
  reason.set_sentence(sentence);
  return reason;
}

}  // namespace

Monitor::Monitor(Options options, double now)
    : options_(std::move(options)),
      started_at_(now),
      ranks_(static_cast<size_t>(options_.world_size)) {
  for (size_t i = 0; i < std::min(ranks_.size(), options_.hosts.size()); ++i) {
    ranks_[i].host = options_.hosts[i];
  }
}

void Monitor::hello(const AgentHello& hello, double now) {
  Watched& rank = ranks_.at(hello.rank());
  if (!rank.has_hello) ++num_heard_;
  rank.has_hello = true;
  rank.host = hello.host();
  rank.heard_at = now;
}

void Monitor::state(int rank, const RankState& state, double now) {
  Watched& watched = ranks_.at(static_cast<size_t>(rank));
  watched.heard_at = now;
  watched.last = state;
  if (state.process() != RankState::stopped) {
    watched.stopped_since.reset();
  } else if (!watched.stopped_since) {
    watched.stopped_since = now;
  }
  if (state.phase() != PHASE_START && state.phase() != PHASE_LOAD && !first_saved_step_) {
    first_saved_step_ = state.saved_step();
  }
  saved_step_ = std::max(saved_step_, state.saved_step());
}

void Monitor::record(int rank, const RankRecord& record, double now) {
  state(rank, record.state(), now);
  ranks_.at(static_cast<size_t>(rank)).record = record;
}

void Monitor::departure(int rank, const Departure& departure, double now) {
  Watched& watched = ranks_.at(static_cast<size_t>(rank));
  watched.heard_at = now;
  if (!watched.end || watched.end->kind != RankEnd::Kind::kLeft) {
    watched.end = end_of(rank, RankEnd::Kind::kLeft, now);
  }
  watched.end->departure = departure;
}

void Monitor::connection_lost(int rank, double now) {
  Watched& watched = ranks_.at(static_cast<size_t>(rank));
  if (!watched.end) watched.end = end_of(rank, RankEnd::Kind::kDisconnected, now);
}

void Monitor::launcher_ended(int exit_code, double now) {
  launcher_code_ = exit_code;
  if (stage_ == Stage::kWatching && was_heard_of() && !have_all_ended()) gather_ends(now);
}

Monitor::Action Monitor::tick(double now) {
  if (stage_ == Stage::kWatching) look(now);
  if (stage_ == Stage::kGatheringRecords) {
    const bool have_all = std::ranges::none_of(
        ranks_, [](const Watched& rank) { return rank.is_alive() && !rank.record; });
    look_for_ends(now);  // an end says more than a record
    if (stage_ == Stage::kGatheringRecords && (have_all || now >= until_)) decide_hang();
  }
  if (stage_ == Stage::kGatheringEnds && (have_all_ended() || now >= until_)) decide_ends();
  if (stage_ == Stage::kOver) return Action::kEnd;
  return std::exchange(wants_records_, false) ? Action::kAskForRecords : Action::kNothing;
}

int Monitor::exit_code() const {
  if (reason_) return reason_->exit_code();
  for (const Watched& rank : ranks_) {
    if (rank.end && rank.end->departure.exit_code() != 0) return rank.end->departure.exit_code();
  }
  return 0;
}

void Monitor::look(double now) {
  look_for_ends(now);
  if (stage_ == Stage::kWatching) look_for_silence(now);
  if (stage_ == Stage::kWatching) look_for_expiry(now);
}

void Monitor::look_for_ends(double now) {
  if (have_all_ended()) return decide_ends();
  if (launcher_code_ && !was_heard_of()) return decide_launch_failed();
  for (const Watched& rank : ranks_) {
    if (!rank.end) continue;
    const bool is_bad = rank.end->kind != RankEnd::Kind::kLeft ||
                        fault_of_departure(rank.end->departure) != FAULT_NONE;
    const bool is_left_alone =
        is_early(*rank.end) && now - rank.end->at > kSecondsForOthersToFollow;
    if (is_bad || is_left_alone) return gather_ends(now);
  }
}

void Monitor::look_for_silence(double now) {
  bool is_any_silent = false;
  for (const Watched& rank : ranks_) {
    is_any_silent |= rank.is_alive() && now - rank.heard_at > options_.heartbeat_timeout;
  }
  if (!is_any_silent) return;
  // Those of the same host fall silent within a heartbeat or two.
  constexpr double kAlmost = 0.8;
  for (size_t i = 0; i < ranks_.size(); ++i) {
    const double silence = now - ranks_[i].heard_at;
    if (!ranks_[i].is_alive() || silence <= kAlmost * options_.heartbeat_timeout) continue;
    ranks_[i].end = end_of(static_cast<int>(i), RankEnd::Kind::kSilent, now - silence);
    ranks_[i].end->seconds_silent = silence;
  }
  decide_ends();
}

void Monitor::look_for_expiry(double now) {
  if (num_heard_ < options_.world_size) {
    if (now - started_at_ > options_.start_deadline) decide_missing();
    return;
  }
  const bool is_expired = std::ranges::any_of(ranks_, [&](const Watched& rank) {
    if (!rank.is_alive()) return false;
    const double deadline =
        rank.last.deadline() > 0.0 ? rank.last.deadline() : options_.start_deadline;
    return rank.last.seconds_since_progress() > deadline || is_held_up_by_stopped(rank, now);
  });
  if (!is_expired) return;
  const bool has_one_left = std::ranges::any_of(
      ranks_, [](const Watched& rank) { return rank.end && is_early(*rank.end); });
  if (has_one_left) return decide_ends();  // no need to ask whom they wait for
  stage_ = Stage::kGatheringRecords;
  wants_records_ = true;
  until_ = now + kSecondsForRecords;
}

bool Monitor::is_held_up_by_stopped(const Watched& rank, double now) const {
  if (!rank.stopped_since || now - *rank.stopped_since <= options_.heartbeat_timeout) return false;
  return std::ranges::all_of(ranks_, [&](const Watched& other) {
    return &other == &rank || !other.is_alive() ||
           other.last.seconds_since_progress() > options_.heartbeat_timeout / 2;
  });
}

void Monitor::gather_ends(double now) {
  stage_ = Stage::kGatheringEnds;
  wants_records_ = false;
  until_ = now + kSecondsForEnds;
}

void Monitor::decide_ends() {
  std::vector<RankEnd> ends;
  for (const Watched& rank : ranks_) {
    if (rank.end) ends.push_back(*rank.end);
  }
  const std::optional<size_t> deciding = deciding_end(ends);
  const bool is_over_well =
      have_all_ended() && std::ranges::all_of(ends, [](const RankEnd& end) {
        return end.kind == RankEnd::Kind::kLeft && fault_of_departure(end.departure) == FAULT_NONE;
      });
  if (is_over_well) return finish(std::nullopt);
  if (deciding) return finish(reason_of_end(ends, *deciding, options_.world_size));
  std::vector<int> missing;
  for (size_t i = 0; i < ranks_.size(); ++i) {
    if (!ranks_[i].end) missing.push_back(static_cast<int>(i));
  }
  finish(
      plain_reason(FAULT_LOST, fmt::format("{} ended with code {} while {} ran", options_.launcher,
                                           launcher_code_.value_or(0), ranks_text(missing))));
}

void Monitor::decide_hang() {
  std::vector<RankRecord> records;
  std::vector<RankState> states;
  for (const Watched& rank : ranks_) {
    if (rank.record) records.push_back(*rank.record);
    if (rank.has_hello) states.push_back(rank.last);
  }
  const Divergence divergence = options_.compare(records, options_.world_size);
  const bool has_record =
      !divergence.rank || ranks_.at(static_cast<size_t>(*divergence.rank)).record.has_value();
  Reason reason = reason_of_hang(divergence, states, has_record);
  if (divergence.rank && !reason.has_host()) {
    reason.set_host(ranks_.at(static_cast<size_t>(*divergence.rank)).host);
  }
  finish(std::move(reason));
}

void Monitor::decide_missing() {
  std::vector<int> missing;
  std::set<std::string> hosts;
  for (size_t i = 0; i < ranks_.size(); ++i) {
    if (ranks_[i].has_hello) continue;
    missing.push_back(static_cast<int>(i));
    if (!ranks_[i].host.empty()) hosts.insert(ranks_[i].host);
  }
  // A start that has worked before is worth another try.
  const bool is_first = !was_heard_of() && options_.attempt == 1;
  Reason reason = plain_reason(
      is_first ? FAULT_LAUNCH : FAULT_LOST,
      fmt::format("{}{} {} not been heard of within {:.0f} s of the start", ranks_text(missing),
                  hosts.empty() ? "" : fmt::format(" (host {})", fmt::join(hosts, ", ")),
                  missing.size() > 1 ? "have" : "has", options_.start_deadline));
  reason.set_phase(PHASE_START);
  if (missing.size() == 1) reason.set_rank(missing.front());
  if (hosts.size() == 1 && was_heard_of()) reason.set_host(*hosts.begin());
  finish(std::move(reason));
}

void Monitor::decide_launch_failed() {
  Reason reason = plain_reason(
      options_.attempt == 1 ? FAULT_LAUNCH : FAULT_LOST,
      fmt::format("the ranks could not be started: {} ended with code {} before any was heard of "
                  "(logs/launcher.log)",
                  options_.launcher, *launcher_code_));
  reason.set_phase(PHASE_START);
  finish(std::move(reason));
}

void Monitor::finish(std::optional<Reason> reason) {
  stage_ = Stage::kOver;
  reason_ = std::move(reason);
  if (!reason_) return;
  reason_->set_attempt(options_.attempt);
  reason_->set_saved_step(saved_step_);
}

RankEnd Monitor::end_of(int rank, RankEnd::Kind kind, double now) const {
  const Watched& watched = ranks_.at(static_cast<size_t>(rank));
  RankEnd end;
  end.kind = kind;
  end.rank = rank;
  end.host = watched.host;
  end.at = now;
  end.last = watched.last;
  return end;
}

bool Monitor::have_all_ended() const {
  return std::ranges::all_of(ranks_, [](const Watched& rank) { return rank.end.has_value(); });
}

}  // namespace molora
