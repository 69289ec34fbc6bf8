// The training command: everything of one run put together, in the order in which it is read.
#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "checkpoint/step_folder.h"
#include "config/resolved_yaml.h"
#include "io/file.h"
#include "io/file_lock.h"
#include "model/architecture_text.h"
#include "parallel/replica_audit.h"
#include "profile/work_recorder.h"
#include "train/trainer.h"
#include "watch/black_box.h"
#include "watch/fault_injection.h"
#include "worker/commands.h"
#include "worker/compute_threads.h"
#include "worker/console.h"
#include "worker/dry_run.h"
#include "worker/first_adapter.h"
#include "worker/held_out.h"
#include "worker/model_session.h"
#include "worker/rank_meter.h"
#include "worker/resolved_config.h"
#include "worker/resume_point.h"
#include "worker/resume_run.h"
#include "worker/run_folder.h"
#include "worker/run_report.h"
#include "worker/saved_layout.h"
#include "worker/stop_request.h"
#include "worker/together.h"
#include "worker/trace_file.h"
#include "worker/traffic_meter.h"
#include "worker/training_data.h"
#include "worker/training_snapshot.h"

namespace molora {

namespace {

ProgressLine::Style progress_style(ProgressStyle style) {
  switch (style) {
    case ProgressStyle::kAuto:
      return ProgressLine::stderr_is_terminal() ? ProgressLine::Style::kBar
                                                : ProgressLine::Style::kLines;
    case ProgressStyle::kBar:
      return ProgressLine::Style::kBar;
    case ProgressStyle::kPlain:
      return ProgressLine::Style::kLines;
    case ProgressStyle::kRelayed:
      return ProgressLine::Style::kRelayed;
  }
  return ProgressLine::Style::kLines;
}

// One run on this rank. Members in the order of their birth; later ones refer to earlier ones.
class TrainingRun {
 public:
  TrainingRun(const RunConfig& config, const TrainArguments& arguments, Communicator& world);
  ExitCode run();

 private:
  std::unique_ptr<FileLock> lock_folder();
  std::filesystem::path find_start(ChangePolicy policy);
  std::vector<std::string> task_names();
  void start_saver(const CheckpointIdentity& identity);
  TrainerHooks hooks();
  void record_if_asked(int64_t step);
  void write_trace_if_recorded(int64_t steps_done);
  void audit(const StepBoundary& boundary);
  void report_ranks(int64_t steps_done);
  void at_boundary(const StepBoundary& boundary, const Progress& progress);
  void note_saved_step();
  std::vector<TaskResult> evaluate();
  void finish();

  RunConfig config_;
  Communicator& world_;
  RunFolder folder_;
  std::unique_ptr<FileLock> lock_;        // rank 0
  std::optional<ExpertWays> saved_ways_;  // of the checkpoint that it goes on from
  std::filesystem::path resume_from_;
  ModelSession session_;
  TrainingData data_;
  std::optional<HeldOut> held_out_;
  GradientSync sync_;
  AdamW optimizer_;
  TrainStep step_;
  RowFeeder feeder_;
  Progress progress_;
  RowFeeder::RunLength length_;
  std::unique_ptr<RunReport> report_;  // rank 0
  TrafficMeter traffic_;
  RankMeter ranks_;
  std::vector<TaskResult> latest_results_;
  WorkRecorder recorder_{WorkClock::kWall};  // of train.trace_steps
  std::optional<WorkRecording> recording_;   // of the latest step, until its boundary
  Tensor latest_loads_RE_;                   // choices per router and expert in the latest step
  std::unique_ptr<CheckpointSaver> saver_;   // last: its thread uses the report
};

TrainingRun::TrainingRun(const RunConfig& config, const TrainArguments& arguments,
                         Communicator& world)
    : config_(config),
      world_(world),
      folder_(config.output_dir()),
      lock_(lock_folder()),
      resume_from_(find_start(arguments.change_policy)),
      session_(config_, saved_ways_, world),
      data_(config_, session_.chat_template(), folder_.cache(config_.data()), world),
      sync_(session_.mesh(), session_.adapters().parameters(),
            config_.parallel().shard_optimizer() ? OptimizerPlacement::kSharded
                                                 : OptimizerPlacement::kReplicated),
      optimizer_(sync_.updated_parameters(), config_.train()),
      step_({session_.model(), session_.adapters(), sync_, optimizer_},
            {config_.train(), config_.adapter().router(), config_.seed(), task_names(),
             data_.script_names()}),
      feeder_(data_.source(), config_.train().global_batch_size()),
      traffic_(session_.mesh()),
      ranks_(session_.mesh()) {
  if (config_.data().eval_size() > 0) {
    held_out_.emplace(config_.data(),
                      HeldOutOptions{.max_samples_per_task = config_.eval().max_samples_per_task()},
                      session_, world_);
  }
  const CheckpointIdentity identity{config_, session_.weights().fingerprint(),
                                    data_.cache().fingerprint(), saved_layout(config_, session_),
                                    architecture_text(session_.architecture())};
  if (!resume_from_.empty()) {
    progress_ = resume_run(resume_from_, identity, arguments.change_policy,
                           {session_.adapters(), optimizer_, session_.mesh(), world_});
    traffic_.restart();
  } else {
    begin_with_named_adapter(config_, session_, world_);
  }
  length_ = run_length(config_.train(), progress_, feeder_);
  fault_point(FaultPhase::kLoad, progress_.step() + 1);
  together(world_, [&] {
    if (world_.rank() != 0) return;
    write_file_atomic(folder_.config(), resolved_yaml(config_));
    report_ = std::make_unique<RunReport>(
        folder_, session_.adapters(),
        RunReport::Options{.num_steps = length_.num_steps,
                           .steps_done = progress_.step(),
                           .log_every = config_.train().log_every(),
                           .world_size = world_.size(),
                           .tasks = data_.task_names(),
                           .scripts = data_.script_names(),
                           .has_tensorboard = config_.train().tensorboard(),
                           .progress = progress_style(arguments.progress)});
  });
  start_saver(identity);
}

// Two runs in one folder would take each other's unfinished checkpoints for those of dead
// processes.
std::unique_ptr<FileLock> TrainingRun::lock_folder() {
  std::unique_ptr<FileLock> lock;
  together(world_, [&] {
    if (world_.rank() != 0) return;
    make_folders(folder_.root());
    lock = std::make_unique<FileLock>(folder_.lock());
    if (lock->is_locked()) return;
    spdlog::warn("{}: this file system knows no locks; see to it that no other run writes here",
                 folder_.lock().string());
  });
  return lock;
}

std::filesystem::path TrainingRun::find_start(ChangePolicy policy) {
  std::filesystem::path found =
      find_resume_point(config_.checkpoint().resume(), folder_.checkpoints(), world_);
  if (!found.empty()) saved_ways_ = check_changes(found, config_, policy, world_);
  return found;
}

// Of the data, which have those that the configuration names.
std::vector<std::string> TrainingRun::task_names() {
  together(world_, [&] {
    (void)tasks_of_first_half(config_.adapter().router().localized_balance(), data_.task_names());
  });
  return data_.task_names();
}

void TrainingRun::start_saver(const CheckpointIdentity& identity) {
  CheckpointSaver::Settings settings{config_.checkpoint(), folder_.checkpoints(), identity,
                                     std::nullopt};
  if (!resume_from_.empty() && resume_from_.parent_path() == settings.root) {
    settings.resumed_step = progress_.step();
  }
  CheckpointSaver::Hooks hooks;
  if (report_) hooks.before_commit = [this] { report_->sync(); };
  hooks.router_loads = [this] { return router_loads(session_.adapters(), latest_loads_RE_); };
  hooks.now = [] {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double>(now).count();
  };
  saver_ = std::make_unique<CheckpointSaver>(
      world_, local_files(), std::move(settings),
      training_state(session_.adapters(), optimizer_, Progress()), std::move(hooks));
}

ExitCode TrainingRun::run() {
  if (BlackBox* box = thread_black_box()) {
    box->set_step(progress_.step());
    box->set_saved_step(progress_.step());
    box->enter_phase(PHASE_STEP);
  }
  if (world_.rank() == 0) {
    spdlog::info("training {} of {} steps on {} rank{}; {} rows a step",
                 length_.num_steps - progress_.step(), length_.num_steps, world_.size(),
                 world_.size() == 1 ? "" : "s", config_.train().global_batch_size());
  }
  Trainer trainer({step_, feeder_, session_.mesh(), optimizer_},
                  {config_.train(), config_.eval(), length_.num_steps,
                   config_.train().max_steps() > 0 ? std::nullopt : std::optional(length_.end)},
                  hooks());
  const Trainer::End end = trainer.run(progress_);
  if (end == Trainer::End::kStopped) {
    if (world_.rank() == 0) {
      spdlog::info(
          "stopped on request after step {}; saved in {}. Start the same command again to "
          "go on",
          progress_.step(), saver_->last_saved().string());
    }
    return ExitCode::kRequeue;
  }
  finish();
  return ExitCode::kDone;
}

TrainerHooks TrainingRun::hooks() {
  TrainerHooks hooks;
  hooks.is_stop_requested = is_stop_requested;
  hooks.before_step = [this](int64_t step) { record_if_asked(step); };
  hooks.on_step = [this](const StepResult& result, const Progress& progress, double seconds) {
    if (recorder_.is_recording()) recording_ = recorder_.stop();
    if (BlackBox* box = thread_black_box()) box->set_step(progress.step());
    ranks_.step_done(seconds, result.rank_tokens);
    if (result.check) traffic_.leave_out(result.check->traffic);
    const Traffic traffic = traffic_.of_all_ranks();
    latest_loads_RE_ = result.expert_counts_RE;
    if (report_) report_->step_done(result, progress, {seconds, traffic});
  };
  if (held_out_) hooks.evaluate = [this] { return evaluate(); };
  hooks.on_evaluated = [this](int64_t steps_done, const std::vector<TaskResult>& results) {
    latest_results_ = results;
    if (report_) report_->evaluated(steps_done, results);
  };
  hooks.on_boundary = [this](const StepBoundary& boundary, const Progress& progress) {
    at_boundary(boundary, progress);
  };
  return hooks;
}

void TrainingRun::record_if_asked(int64_t step) {
  const auto& steps = config_.train().trace_steps();
  if (std::find(steps.begin(), steps.end(), static_cast<uint64_t>(step)) == steps.end()) return;
  recorder_.start();
}

void TrainingRun::write_trace_if_recorded(int64_t steps_done) {
  if (!recording_) return;
  const PlaceScope place("trace");
  write_trace(folder_.trace(steps_done), *recording_, steps_done, session_.mesh());
  recording_.reset();
  if (world_.rank() == 0) {
    spdlog::info("trace of step {} in {}", steps_done, folder_.trace(steps_done).string());
  }
}

std::vector<TaskResult> TrainingRun::evaluate() {
  const PhaseScope phase(PHASE_EVALUATE);
  const PlaceScope place("evaluation");
  fault_point(FaultPhase::kEvaluate, progress_.step());
  std::vector<TaskResult> results = held_out_->evaluate([this](size_t done, size_t total) {
    if (report_)
      report_->show_phase(fmt::format("evaluating on held-out data: {}/{}", done, total));
  });
  traffic_.restart();
  ranks_.restart();
  return results;
}

// A difference stops the run before it is saved: the last checkpoint is from before the fault.
void TrainingRun::audit(const StepBoundary& boundary) {
  const PlaceScope place("audit");
  const int64_t steps_done = boundary.steps_done;
  const auto every = static_cast<int64_t>(config_.parallel().audit_every());
  const auto saved_every = static_cast<int64_t>(config_.checkpoint().every());
  const bool is_to_be_saved = boundary.is_last || boundary.is_stop_requested ||
                              boundary.is_new_best ||
                              (saved_every > 0 && steps_done % saved_every == 0);
  if (every == 0 || (steps_done % every != 0 && !is_to_be_saved)) return;
  const std::string found =
      find_replica_difference(session_.mesh(), session_.adapters().parameters());
  together(world_, [&] {
    if (found.empty()) return;
    throw InternalError(fmt::format(
        "after step {}: copies of a trained tensor differ: {}. The run cannot be trusted from "
        "here on; it goes on from its last checkpoint when started again. If it happens again, a "
        "machine, a network link or this program is at fault",
        steps_done, found));
  });
}

// Before the step is saved: what a checkpoint's metrics hold does not depend on where a run began.
void TrainingRun::report_ranks(int64_t steps_done) {
  const auto every = static_cast<int64_t>(config_.supervisor().report_every());
  if (every == 0 || steps_done % every != 0) return;
  const RankUsages usages = ranks_.of_all_ranks();
  if (report_) report_->ranks(steps_done, usages, config_.supervisor().straggler_factor());
}

void TrainingRun::at_boundary(const StepBoundary& boundary, const Progress& progress) {
  const PhaseScope phase(PHASE_SAVE);
  write_trace_if_recorded(boundary.steps_done);
  audit(boundary);
  report_ranks(boundary.steps_done);
  try {
    const PlaceScope place("checkpoint");
    saver_->at_boundary({.step = boundary.steps_done,
                         .is_last = boundary.is_last,
                         .is_stop_requested = boundary.is_stop_requested,
                         .is_new_best = boundary.is_new_best},
                        progress);
  } catch (const CheckpointError& error) {
    // Every rank knows of it; one speaks.
    throw FailedTogether(FAULT_STORAGE, error.exit_code(), world_.rank() == 0 ? error.what() : "");
  }
  note_saved_step();
  // A step's bytes are those of the step alone, so that a run that goes on from here counts the
  // same.
  traffic_.restart();
  ranks_.restart();
}

void TrainingRun::note_saved_step() {
  BlackBox* box = thread_black_box();
  if (box == nullptr || saver_->last_saved().empty()) return;
  if (const auto step = step_of_folder(saver_->last_saved().filename().string()))
    box->set_saved_step(*step);
}

void TrainingRun::finish() {
  if (BlackBox* box = thread_black_box()) box->enter_phase(PHASE_FINISH);
  // A run that was already at its end has evaluated nothing yet.
  if (held_out_ && latest_results_.empty()) latest_results_ = evaluate();
  ranks_.of_all_ranks();
  if (world_.rank() != 0) return;
  saver_.reset();  // it uses the report
  report_.reset();
  if (held_out_) {
    const std::vector<TaskResult> before(progress_.eval_before().begin(),
                                         progress_.eval_before().end());
    print(write_results(folder_.results(), before, latest_results_));
  }
  if (world_.size() > 1) spdlog::info("{}", traffic_text(traffic_.total()));
  if (ranks_.total().num_steps > 0) spdlog::info("{}", ranks_summary(ranks_.total()));
  spdlog::info("done: {} steps, {} tokens seen, {} steps skipped. Everything is in {}",
               progress_.step(), progress_.tokens_seen(), progress_.skipped_steps(),
               folder_.root().string());
}

}  // namespace

ExitCode run_train(const TrainArguments& arguments, Communicator& world) {
  ConfigArguments with_resume = arguments.config;
  if (!arguments.resume.empty()) {
    with_resume.overrides.push_back("checkpoint.resume=" + arguments.resume);
  }
  const RunConfig config = resolve_config(with_resume, ConfigUse::kTrain, world);
  set_compute_threads(world);
  if (BlackBox* box = thread_black_box()) box->set_run(config.output_dir(), config.supervisor());
  if (arguments.is_dry_run) return run_dry(config, world);
  install_stop_handlers(world.rank() == 0 ? StopNotice::kSay : StopNotice::kSilent);
  return TrainingRun(config, arguments, world).run();
}

}  // namespace molora
