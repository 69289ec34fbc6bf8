#include "checkpoint/checkpoint_saver.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/check.h"
#include "base/error.h"
#include "base/mutation.h"
#include "base/unit_text.h"
#include "checkpoint/commit.h"
#include "checkpoint/part_writer.h"
#include "checkpoint/step_folder.h"
#include "watch/fault_injection.h"

namespace molora {

namespace {

// How long ranks that wait for a save leave each other alone.
constexpr std::chrono::milliseconds kBetweenReports{10};
// A wait that is longer than so many seconds is told, and told again after as many more.
constexpr double kSilence = 30.0;

}  // namespace

CheckpointSaver::CheckpointSaver(Communicator& world, FileSystem& files, Settings settings,
                                 const TrainingState& state, Hooks hooks)
    : files_(files),
      settings_(std::move(settings)),
      hooks_(std::move(hooks)),
      coordination_(world.split("coordination", 0)),
      snapshot_(state, SavePlan(*coordination_, state), world.rank()) {
  for (const auto* slices : {&state.adapter, &state.optimizer}) {
    for (const TensorSlice& slice : *slices) tensor_names_.push_back(slice.name);
  }
  if (!is_coordinator()) return;
  coordinator_ =
      std::make_unique<Coordinator>(settings_.config, world.size(), ::getpid(), hooks_.now());
  for (const std::string& name : remove_stale_attempts(files_, settings_.root)) {
    spdlog::info("removed {}, left behind by a process that ended while saving",
                 (settings_.root / name).string());
  }
}

CheckpointSaver::~CheckpointSaver() { is_given_up_ = true; }

void CheckpointSaver::at_boundary(const StepEvents& events, const Progress& progress) {
  fault_point(FaultPhase::kSave, events.step);
  if (is_quiet(events)) return;
  const double begun = hooks_.now();
  double silent_since = begun;
  for (;;) {
    const Orders orders = exchange(events);
    obey(orders, progress);
    if (!orders.wait()) return;
    const double now = hooks_.now();
    if (is_coordinator() && now - silent_since > kSilence) {
      silent_since = now;
      spdlog::warn("step {} waits for the checkpoint of step {}, for {} so far", events.step,
                   save_.step(), seconds_text(now - begun));
    }
    thread_.wait_for(kBetweenReports);
  }
}

// The same on every rank.
bool CheckpointSaver::is_quiet(const StepEvents& events) const {
  return !is_in_flight_ && settings_.config.every_minutes() == 0.0 &&
         checkpoint_reason(settings_.config, events, 0.0).empty();
}

Orders CheckpointSaver::exchange(const StepEvents& events) {
  std::vector<WorkerReport> reports;
  for (const std::string& bytes : all_gather_text(*coordination_, report().SerializeAsString())) {
    MOLORA_CHECK(reports.emplace_back().ParseFromString(bytes), "a report of {} bytes",
                 bytes.size());
  }
  if (MOLORA_MUTANT(kReportsOfThisRank)) {
    for (WorkerReport& other : reports) other = reports[static_cast<size_t>(coordination_->rank())];
  }
  std::string bytes;
  if (is_coordinator()) {
    bytes = coordinator_->decide(events, reports, hooks_.now()).SerializeAsString();
  }
  if (!MOLORA_MUTANT(kOrdersNotTold)) bytes = broadcast_text(*coordination_, bytes, 0);
  Orders orders;
  MOLORA_CHECK(orders.ParseFromString(bytes), "orders of {} bytes", bytes.size());
  return orders;
}

WorkerReport CheckpointSaver::report() {
  if (work_ != Work::kNone && !thread_.is_busy()) take_note_of_ended_work();
  WorkerReport now = state_;
  state_.clear_part();  // told once
  return now;
}

void CheckpointSaver::take_note_of_ended_work() {
  const std::string failure = thread_.take_failure();
  state_.set_failure(failure);
  state_.set_work_seconds(work_seconds_);
  switch (std::exchange(work_, Work::kNone)) {
    case Work::kPart:
      state_.set_writer(failure.empty() ? WorkerReport::written : WorkerReport::failed);
      *state_.mutable_part() = std::move(part_);
      state_.set_blocked_seconds(blocked_seconds_);
      return;
    case Work::kCommit:
      state_.set_closing(failure.empty() ? WorkerReport::committed : WorkerReport::commit_failed);
      return;
    case Work::kRemoval:
      // What cannot be removed takes space until the next start, nothing else.
      if (!failure.empty()) spdlog::warn("cannot remove an attempt that failed: {}", failure);
      state_.set_closing(WorkerReport::dropped);
      return;
    case Work::kNone:
      return;
  }
}

void CheckpointSaver::obey(const Orders& orders, const Progress& progress) {
  if (orders.has_give_up()) is_given_up_ = true;
  if (is_coordinator() && orders.has_commit()) start_commit();
  if (is_coordinator() && orders.has_remove()) {
    state_.set_closing(WorkerReport::in_work);
    start(Work::kRemoval, [this, folder = attempt_folder()] { remove_all(files_, folder); });
  }
  if (orders.has_outcome()) take_note_of(orders.outcome());
  if (is_coordinator() && orders.has_passed_over()) spdlog::warn("{}", orders.passed_over());
  if (orders.has_begin()) begin_save(orders.begin(), progress);
}

void CheckpointSaver::start(Work work, std::function<void()> body) {
  MOLORA_CHECK(work_ == Work::kNone, "work {} has not ended", static_cast<int>(work_));
  work_ = work;
  thread_.start([this, body = std::move(body)] {
    const double begun = hooks_.now();
    body();
    work_seconds_ = hooks_.now() - begun;
  });
}

void CheckpointSaver::begin_save(const BeginSave& save, const Progress& progress) {
  const double begun = hooks_.now();
  save_ = save;
  is_in_flight_ = true;
  is_given_up_ = false;
  state_ = WorkerReport();
  state_.set_attempt(save.attempt());
  state_.set_writer(WorkerReport::busy);
  if (is_coordinator()) {
    manifest_ = CheckpointManifest();
    *manifest_.mutable_progress() = progress;
    *manifest_.mutable_config() = settings_.identity.config;
    manifest_.set_base_fingerprint(settings_.identity.base_fingerprint);
    manifest_.set_architecture(settings_.identity.architecture);
    manifest_.set_data_fingerprint(settings_.identity.data_fingerprint);
    *manifest_.mutable_layout() = settings_.identity.layout;
    manifest_.set_reason(save.reason());
    const std::vector<RouterLoad> loads = hooks_.router_loads();
    manifest_.mutable_router_loads()->Add(loads.begin(), loads.end());
  }
  snapshot_.take();
  start(Work::kPart, [this] {
    part_ = write_part(files_, attempt_folder(), snapshot_, save_.step(), is_given_up_);
  });
  blocked_seconds_ = hooks_.now() - begun;
}

void CheckpointSaver::start_commit() {
  state_.set_closing(WorkerReport::in_work);
  FinishedAttempt finished;
  finished.root = settings_.root;
  finished.attempt = save_.attempt();
  finished.manifest = manifest_;
  finished.parts = coordinator_->parts();
  finished.expected_names = tensor_names_;
  start(Work::kCommit, [this, finished = std::move(finished)] {
    hooks_.before_commit();
    commit(files_, finished);
    remove_what_is_not_kept(finished.manifest.progress());
  });
}

// The checkpoint is committed: what goes wrong here costs space or a hint, nothing else.
void CheckpointSaver::remove_what_is_not_kept(const Progress& progress) {
  try {
    write_latest(files_, settings_.root, progress.step());
    SpecialSteps special{.best = std::nullopt, .resumed = settings_.resumed_step};
    if (progress.has_best_eval_step()) special.best = progress.best_eval_step();
    for (const int64_t step : steps_to_remove(
             settings_.config, committed_steps(files_, settings_.root), progress.step(), special)) {
      remove_step(files_, settings_.root, step);
    }
  } catch (const IoError& error) {
    spdlog::warn("step {} is saved, but tidying up behind it failed: {}", progress.step(),
                 error.what());
  }
}

void CheckpointSaver::take_note_of(const SaveOutcome& outcome) {
  is_in_flight_ = false;
  state_ = WorkerReport();
  const std::filesystem::path folder = settings_.root / step_folder_name(outcome.step());
  if (outcome.failure().empty()) {
    last_saved_ = folder;
    if (!is_coordinator()) return;
    const auto bytes = static_cast<double>(outcome.bytes());
    spdlog::info("saved {} ({}): {} in {} ({}/s), training stood still for {}", folder.string(),
                 outcome.reason(), bytes_text(bytes), seconds_text(outcome.seconds()),
                 bytes_text(bytes / std::max(outcome.seconds(), 1e-9)),
                 seconds_text(outcome.blocked_seconds()));
    return;
  }
  const std::string what = fmt::format(
      "the checkpoint of step {} ({}) was not written: {}. Earlier checkpoints in {} "
      "are untouched",
      outcome.step(), outcome.reason(), outcome.failure(), settings_.root.string());
  if (outcome.was_required()) throw CheckpointError(what);
  if (is_coordinator()) spdlog::error("{}; training goes on", what);
}

std::filesystem::path CheckpointSaver::attempt_folder() const {
  return settings_.root / attempt_folder_name(save_.step(), save_.attempt());
}

}  // namespace molora
