#include "coord/coordinator.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/check.h"

namespace molora {

namespace {

bool ends_run(const StepEvents& events) { return events.is_last || events.is_stop_requested; }

}  // namespace

Coordinator::Coordinator(const CheckpointConfig& config, int num_ranks, int64_t run_id, double now)
    : config_(config),
      run_id_(run_id),
      begun_(now),
      has_written_(static_cast<size_t>(num_ranks), false),
      parts_(static_cast<size_t>(num_ranks)) {}

Orders Coordinator::decide(const StepEvents& events, const std::vector<WorkerReport>& reports,
                           double now) {
  MOLORA_CHECK_EQ(reports.size(), parts_.size(), "reports");
  Orders orders;
  observe(reports, now, orders);
  consider_save(events, now, orders);
  return orders;
}

bool Coordinator::is_current(const WorkerReport& report) const {
  return report.attempt() == save_.attempt();
}

void Coordinator::observe(const std::vector<WorkerReport>& reports, double now, Orders& orders) {
  if (state_ == State::kWriting) observe_writers(reports, now, orders);
  if (state_ == State::kClosing && !orders.has_commit()) {
    observe_closing(reports.front(), orders);
  }
  if (state_ != State::kGivingUp) return;
  const bool is_any_busy =
      std::any_of(reports.begin(), reports.end(), [&](const WorkerReport& report) {
        return is_current(report) && report.writer() == WorkerReport::busy;
      });
  if (is_any_busy) return;
  orders.set_remove(save_.attempt());
  state_ = State::kClosing;
}

void Coordinator::observe_writers(const std::vector<WorkerReport>& reports, double now,
                                  Orders& orders) {
  std::vector<size_t> unfinished;
  for (size_t rank = 0; rank < reports.size(); ++rank) {
    const WorkerReport& report = reports[rank];
    if (is_current(report) && report.writer() == WorkerReport::failed && failure_.empty()) {
      failure_ = fmt::format("rank {}: {}", rank, report.failure());
    }
    if (is_current(report) && report.writer() == WorkerReport::written && !has_written_[rank]) {
      has_written_[rank] = true;
      parts_[rank] = report.part();
      blocked_seconds_ = std::max(blocked_seconds_, report.blocked_seconds());
      write_seconds_ = std::max(write_seconds_, report.work_seconds());
    }
    if (!has_written_[rank]) unfinished.push_back(rank);
  }
  if (failure_.empty() && unfinished.empty()) {
    orders.set_commit(save_.attempt());
    state_ = State::kClosing;
    return;
  }
  if (failure_.empty() && now - begun_ > config_.write_timeout()) {
    failure_ = fmt::format(
        "not written after {:.0f} s (checkpoint.write_timeout is {}); still writing: rank {}",
        now - begun_, config_.write_timeout(), fmt::join(unfinished, ", "));
  }
  if (failure_.empty()) return;
  orders.set_give_up(save_.attempt());
  state_ = State::kGivingUp;
}

void Coordinator::observe_closing(const WorkerReport& report, Orders& orders) {
  if (!is_current(report)) return;
  if (report.closing() == WorkerReport::committed) {
    write_seconds_ += report.work_seconds();
    end_save("", orders);
  }
  if (report.closing() == WorkerReport::dropped) end_save(failure_, orders);
  if (report.closing() == WorkerReport::commit_failed) {
    failure_ = "rank 0: " + report.failure();
    orders.set_remove(save_.attempt());
  }
}

void Coordinator::end_save(const std::string& failure, Orders& orders) {
  SaveOutcome& outcome = *orders.mutable_outcome();
  outcome.set_step(save_.step());
  outcome.set_reason(save_.reason());
  outcome.set_failure(failure);
  outcome.set_seconds(write_seconds_);
  outcome.set_blocked_seconds(blocked_seconds_);
  outcome.set_was_required(is_required_);
  uint64_t bytes = 0;
  for (const PartRecord& part : parts_) {
    for (const FileRecord& file : part.files()) bytes += file.bytes();
  }
  outcome.set_bytes(bytes);
  state_ = State::kIdle;
}

void Coordinator::begin_save(const StepEvents& events, const std::string& reason, double now,
                             Orders& orders) {
  state_ = State::kWriting;
  handled_step_ = events.step;
  save_.set_step(events.step);
  save_.set_attempt(fmt::format("{}-{}", run_id_, ++num_attempts_));
  save_.set_reason(reason);
  is_required_ = ends_run(events);
  begun_ = now;
  blocked_seconds_ = 0.0;
  write_seconds_ = 0.0;
  failure_.clear();
  std::fill(has_written_.begin(), has_written_.end(), false);
  std::fill(parts_.begin(), parts_.end(), PartRecord());
  *orders.mutable_begin() = save_;
}

void Coordinator::consider_save(const StepEvents& events, double now, Orders& orders) {
  // What falls due by time while a save is in flight falls due as soon as that ended.
  const double minutes = state_ == State::kIdle ? (now - begun_) / 60.0 : 0.0;
  const std::string reason = checkpoint_reason(config_, events, minutes);
  const bool is_wish = !reason.empty() && events.step != handled_step_;
  const bool can_be_passed_over = !ends_run(events) && !(events.is_new_best && config_.keep_best());
  if (is_wish && state_ == State::kIdle) {
    begin_save(events, reason, now, orders);
  } else if (is_wish && can_be_passed_over) {
    handled_step_ = events.step;
    orders.set_passed_over(fmt::format(
        "no checkpoint of step {}: that of step {} is still being written after {:.1f} s",
        events.step, save_.step(), now - begun_));
  } else if (is_wish) {
    orders.set_wait(true);
  }
  if (ends_run(events) && state_ != State::kIdle) orders.set_wait(true);
}

}  // namespace molora
