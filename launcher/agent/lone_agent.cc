#include "launcher/agent/lone_agent.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <vector>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/error.h"
#include "launcher/supervise/attempt_end.h"
#include "watch/flight_comparison.h"
#include "watch/reason_file.h"

namespace molora {

namespace {

constexpr int kPollMs = 200;
constexpr double kSecondsForRecords = 3.0;
// A rank that misses another lets that one speak first.
constexpr double kSecondsForOthers = 0.5;

}  // namespace

LoneAgent::LoneAgent(const RankEnvironment& rank, pid_t worker, const BlackBox& box,
                     SignalQueue& signals)
    : parent_(::getppid()),
      rank_(rank),
      box_(box),
      signals_(signals),
      process_(worker),
      view_(box, process_, clock_.now()) {}

int LoneAgent::run() {
  while (true) {
    wait();
    if (process_.has_ended()) break;
    look_for_folder();
    const double now = clock_.now();
    if (::getppid() != parent_) {
      spdlog::error("the launcher is gone; ending this rank");
      end_worker();
      return static_cast<int>(ExitCode::kPeer);
    }
    const RankState state = view_.state(now);
    process_.watch_shared_memory(state.phase(), now);
    if (is_expired(state)) return expire();
    if (now < next_look_) continue;
    next_look_ = now + 1.0;  // for a question in the run's folder
    answer_request(now);
  }
  look_for_folder();
  explain_end();
  end_worker();
  return process_.exit_code();
}

void LoneAgent::wait() {
  pollfd wanted{signals_.descriptor(), POLLIN, 0};
  ::poll(&wanted, 1, kPollMs);
  while (const std::optional<int> signal = signals_.next()) {
    if (*signal == SIGCHLD) continue;
    const bool ends = *signal == SIGTERM || *signal == SIGINT || *signal == SIGHUP;
    has_passed_end_on_ |= ends;
    if (ends) process_.note_shared_memory();
    process_.signal(*signal);
  }
  process_.look();
}

void LoneAgent::look_for_folder() {
  if (!folder_.empty()) return;
  folder_ = box_.folder();
  if (folder_.empty()) return;
  flights_.emplace(folder_, started_at_);
  try {
    remove_reason_before(folder_, started_at_);  // that of an earlier run
  } catch (const Error& error) {
    spdlog::warn("{}", error.what());
  }
}

bool LoneAgent::is_expired(const RankState& state) const {
  return flights_ && state.deadline() > 0.0 && state.seconds_since_progress() > state.deadline();
}

void LoneAgent::answer_request(double now) {
  if (has_answered_ || !flights_ || !flights_->is_asked_for()) return;
  has_answered_ = true;
  try {
    flights_->write(view_.record(now));
  } catch (const Error& error) {
    spdlog::warn("no flight record of rank {}: {}", rank_.rank, error.what());
  }
}

int LoneAgent::expire() {
  std::vector<RankRecord> records;
  const RankRecord own = view_.record(clock_.now());
  const auto world = static_cast<int>(own.state().world_size());
  try {
    flights_->write(own);
    flights_->ask_all();
    const double until = clock_.now() + kSecondsForRecords;
    while (static_cast<int>(records.size()) < world && clock_.now() < until) {
      wait();
      records = flights_->read(world);
    }
  } catch (const Error& error) {
    spdlog::warn("no flight records: {}", error.what());
  }
  if (records.empty()) records.push_back(own);
  std::vector<RankState> states;
  states.reserve(records.size());
  for (const RankRecord& record : records) states.push_back(record.state());
  const Divergence divergence = compare_records(records, world);
  const bool has_record = std::ranges::any_of(states, [&](const RankState& state) {
    return !divergence.rank || state.rank() == static_cast<uint32_t>(*divergence.rank);
  });
  give_reason(reason_of_hang(divergence, states, has_record));
  end_worker();
  return static_cast<int>(ExitCode::kPeer);
}

// Nothing when the launcher has ended us, which it does for the sake of another rank.
void LoneAgent::explain_end() {
  const Departure departure = view_.departure();
  const FaultKind fault = fault_of_departure(departure);
  const bool is_ended_by_launcher = departure.fault() == FAULT_NONE && has_passed_end_on_;
  if (fault == FAULT_NONE || is_ended_by_launcher || folder_.empty()) return;
  const RankState state = view_.state(clock_.now());
  RankEnd end{RankEnd::Kind::kLeft,
              static_cast<int>(state.rank()),
              state.host(),
              clock_.now(),
              departure,
              state,
              0.0};
  if (fault == FAULT_LOST && departure.signal() == 0) {
    const double until = clock_.now() + kSecondsForOthers;
    while (clock_.now() < until) wait();
  }
  give_reason(reason_of_end({&end, 1}, 0, static_cast<int>(state.world_size())));
}

void LoneAgent::give_reason(Reason reason) {
  const std::string hint = advice(reason);
  reason.set_action("ended");
  reason.set_attempt(rank_.attempt);
  reason.set_time(utc_time_text());
  reason.set_saved_step(view_.state(clock_.now()).saved_step());
  if (!hint.empty()) reason.set_sentence(reason.sentence() + "; " + hint);
  try {
    if (!write_first_reason(folder_, reason)) return;
    append_fault(folder_, reason);
  } catch (const Error& error) {
    spdlog::warn("no reason.json: {}", error.what());
  }
  spdlog::error("{}", reason.sentence());
}

void LoneAgent::end_worker() {
  if (!process_.has_ended()) process_.note_shared_memory();
  process_.kill();
  const double until = clock_.now() + 3.0;
  while (!process_.has_ended() && clock_.now() < until) wait();
  process_.remove_shared_memory();
}

}  // namespace molora
