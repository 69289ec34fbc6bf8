#include "train/trainer.h"

#include <chrono>
#include <utility>

#include <ATen/record_function.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/check.h"
#include "base/error.h"
#include "train/lr_schedule.h"
#include "watch/place.h"

namespace molora {

namespace {

// Mean negative log-likelihood per supervised token of all tasks together.
double mean_loss(const std::vector<TaskResult>& results) {
  double loss_sum = 0.0;
  int64_t supervised = 0;
  for (const TaskResult& result : results) {
    loss_sum += result.loss_sum();
    supervised += result.supervised();
  }
  MOLORA_CHECK(supervised > 0, "the evaluation saw no supervised token");
  return loss_sum / static_cast<double>(supervised);
}

}  // namespace

Trainer::Trainer(const Parts& parts, Options options, TrainerHooks hooks)
    : parts_(parts),
      options_(std::move(options)),
      hooks_(std::move(hooks)),
      inputs_(parts_.feeder, {.dp_rank = parts_.mesh.dp_rank(),
                              .dp = parts_.mesh.shape().dp,
                              .micro_batch_size = options_.train.micro_batch_size(),
                              .end = options_.end,
                              .device = parts_.step.device()}) {}

Trainer::End Trainer::run(Progress& progress) {
  parts_.step.norms() = NormHistory();
  for (const double norm : progress.recent_grad_norms()) parts_.step.norms().add(norm);
  parts_.step.router_health().restore(progress.router_health());
  if (progress.step() == 0) evaluate_before(progress);
  while (progress.step() < options_.num_steps) {
    const StepResult result = one_step(progress);
    StepBoundary boundary;
    boundary.steps_done = progress.step();
    boundary.is_last = progress.step() >= options_.num_steps;
    boundary.is_stop_requested = result.is_stop_requested;
    if (evaluation_is_due(progress.step())) boundary.is_new_best = evaluate_after(progress);
    if (hooks_.on_boundary) hooks_.on_boundary(boundary, progress);
    if (boundary.is_stop_requested && !boundary.is_last) return End::kStopped;
  }
  return End::kDone;
}

void Trainer::evaluate_before(Progress& progress) {
  if (!hooks_.evaluate || !options_.eval.at_start()) return;
  const std::vector<TaskResult> results = hooks_.evaluate();
  progress.mutable_eval_before()->Assign(results.begin(), results.end());
  if (hooks_.on_evaluated) hooks_.on_evaluated(0, results);
}

StepResult Trainer::one_step(Progress& progress) {
  if (hooks_.before_step) hooks_.before_step(progress.step() + 1);
  const auto start = std::chrono::steady_clock::now();
  RowPosition position{progress.epoch(), progress.next_row()};
  const StepInput input = take_input(position);
  if (progress.step() + 1 < options_.num_steps) inputs_.make_ahead(position);
  const double rate = learning_rate(options_.train, progress.step(), options_.num_steps);
  StepResult result = parts_.step.run(
      progress.step(), input, rate,
      hooks_.is_stop_requested() ? TrainStep::Stop::kRequested : TrainStep::Stop::kNo);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;

  progress.set_step(progress.step() + 1);
  progress.set_optimizer_updates(parts_.optimizer.num_updates());
  progress.set_epoch(position.epoch);
  progress.set_next_row(position.row);
  progress.set_samples_seen(progress.samples_seen() + result.samples);
  progress.set_tokens_seen(progress.tokens_seen() + result.tokens);
  progress.set_supervised_seen(progress.supervised_seen() + result.supervised);
  if (result.is_skipped) progress.set_skipped_steps(progress.skipped_steps() + 1);
  const auto& norms = parts_.step.norms().norms();
  progress.mutable_recent_grad_norms()->Assign(norms.begin(), norms.end());
  if (parts_.step.router_health().num_routers() > 0) {
    *progress.mutable_router_health() = parts_.step.router_health().record();
  }
  progress.set_skipped_in_a_row(result.is_skipped ? progress.skipped_in_a_row() + 1 : 0);
  if (hooks_.on_step) hooks_.on_step(result, progress, seconds.count());
  if (result.is_skipped) count_skips(result, progress);
  return result;
}

StepInput Trainer::take_input(RowPosition& position) {
  const PlaceScope place("rows");
  RECORD_FUNCTION("molora::step.rows", {});
  return inputs_.take(position);
}

void Trainer::count_skips(const StepResult& result, Progress& progress) {
  const std::string where =
      result.nonfinite_parameter.empty()
          ? "every gradient is finite"
          : "the first gradient that is not finite is that of " + result.nonfinite_parameter;
  const std::string what = fmt::format("step {}: loss {}, gradient norm {}; {}", progress.step(),
                                       result.loss, result.grad_norm, where);
  if (parts_.mesh.world_rank() == 0) {
    spdlog::warn("{}. All ranks skipped this step ({} in a row, {} in all)", what,
                 progress.skipped_in_a_row(), progress.skipped_steps());
  }
  if (progress.skipped_in_a_row() < options_.train.max_nonfinite_steps()) return;
  throw NumericsError(fmt::format(
      "{} steps in a row were not finite (train.max_nonfinite_steps), the last: {}. Lower "
      "train.learning_rate, set train.clip_norm, or compute in fp32 (model.precision); the last "
      "checkpoint is untouched",
      progress.skipped_in_a_row(), what));
}

bool Trainer::evaluation_is_due(int64_t steps_done) const {
  if (!hooks_.evaluate) return false;
  if (steps_done >= options_.num_steps) return true;
  const auto every = static_cast<int64_t>(options_.eval.every());
  return every > 0 && steps_done % every == 0;
}

bool Trainer::evaluate_after(Progress& progress) {
  const std::vector<TaskResult> results = hooks_.evaluate();
  const double loss = mean_loss(results);
  const bool is_best = !progress.has_best_eval_loss() || loss < progress.best_eval_loss();
  if (is_best) {
    progress.set_best_eval_loss(loss);
    progress.set_best_eval_step(progress.step());
  }
  if (hooks_.on_evaluated) hooks_.on_evaluated(progress.step(), results);
  return is_best;
}

}  // namespace molora
