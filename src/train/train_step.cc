#include "train/train_step.h"

#include <algorithm>
#include <cmath>

#include <ATen/core/grad_mode.h>

#include "base/check.h"
#include "base/mutation.h"
#include "comm/fixed_order_sum.h"
#include "tensor/tensor_bytes.h"
#include "train/loss.h"
#include "train/micro_batch.h"

namespace molora {

namespace {

// The rows of micro-step m; empty when this rank has fewer.
std::span<const TrainRow> rows_of(const StepRows& rows, int64_t m, int64_t micro_batch_size) {
  const std::span<const TrainRow> all(rows.rows);
  const auto begin = std::min(all.size(), static_cast<size_t>(m * micro_batch_size));
  const auto end = std::min(all.size(), begin + static_cast<size_t>(micro_batch_size));
  return all.subspan(begin, end - begin);
}

}  // namespace

TrainStep::TrainStep(const Parts& parts, const Options& options)
    : parts_(parts), options_(options) {
  if (parts_.adapters.num_routers() > 0) {
    auxiliary_.balance_coef = options_.router.balance_loss_coef();
    auxiliary_.z_coef = options_.router.z_loss_coef();
  }
}

StepResult TrainStep::run(int64_t step, const StepRows& rows, double learning_rate, Stop stop) {
  MOLORA_CHECK(rows.step_supervised > 0, "step {} has nothing to learn from", step);
  StepResult result;
  result.step = step;
  result.learning_rate = learning_rate;
  result.tokens = rows.step_tokens;
  result.samples = rows.step_samples;

  auxiliary_.scale = static_cast<double>(rows.step_supervised) /
                     (static_cast<double>(rows.step_tokens) *
                      static_cast<double>(std::max<int64_t>(1, parts_.adapters.num_routers())));
  choices_.assign(static_cast<size_t>(rows.num_micro_steps), RoutingChoices{});
  statistics_ = empty_router_statistics(parts_.adapters);
  if (auxiliary_.balance_coef != 0.0) count_choices_ahead(step, rows);

  const Totals totals = accumulate_gradients(step, rows);
  reduce(totals, stop, result);
  MOLORA_CHECK_EQ(result.supervised, rows.step_supervised, "supervised tokens of step {}", step);
  clip_and_update(result);
  return result;
}

// The balance loss needs the share of each expert over the whole step before the first backward
// pass: one forward pass without gradients finds it, and its choices are used again afterwards.
void TrainStep::count_choices_ahead(int64_t step, const StepRows& rows) {
  const at::NoGradGuard no_grad;
  for (int64_t m = 0; m < rows.num_micro_steps; ++m) {
    micro_step(step, rows_of(rows, m, options_.train.micro_batch_size()),
               choices_[static_cast<size_t>(m)], &statistics_);
  }
  Tensor counts_RE = statistics_.counts_RE.clone();
  if (!MOLORA_MUTANT(kStatisticsOfThisRank)) {
    fixed_order_sum(mesh().axis(Axis::kAll), elements<int64_t>(counts_RE));
  }
  const Tensor counts = counts_RE.to(at::kDouble);
  auxiliary_.share_RE = counts / counts.sum(1, /*keepdim=*/true);
}

TrainStep::Totals TrainStep::accumulate_gradients(int64_t step, const StepRows& rows) {
  for (const Parameter& parameter : parts_.adapters.parameters()) {
    parameter.value.mutable_grad().reset();
  }
  Totals totals;
  for (int64_t m = 0; m < rows.num_micro_steps; ++m) {
    const Totals part = micro_step(step, rows_of(rows, m, options_.train.micro_batch_size()),
                                   choices_[static_cast<size_t>(m)], &statistics_);
    totals.loss_sum += part.loss_sum;
    totals.supervised += part.supervised;
  }
  return totals;
}

TrainStep::Totals TrainStep::micro_step(int64_t step, std::span<const TrainRow> rows,
                                        RoutingChoices& choices, RouterStatistics* statistics) {
  const MicroBatch batch = make_micro_batch(rows);
  const ForwardContext context{
      .batch = batch.tokens,
      .mode = ForwardMode::kTrain,
      .routing = {.choices = &choices, .statistics = statistics, .auxiliary = &auxiliary_},
      .seed = options_.seed,
      .step = static_cast<uint64_t>(step),
      .recompute = options_.train.activation_checkpointing()};
  const Tensor hidden = parts_.model.hidden_states(context);
  const Tensor states_ND = parts_.model.head_states(hidden, batch.predictors_N, context);
  const TokenLoss loss = next_token_loss(parts_.model, states_ND, batch.targets_N);
  if (at::GradMode::is_enabled() && loss.sum.requires_grad()) loss.sum.backward();
  // Every tp rank has the same loss; the first one's is counted.
  if (mesh().tp_rank() != 0 && !MOLORA_MUTANT(kLossOnEveryTpRank)) return {};
  return {loss.sum.item<double>(), batch.targets_N.size(0)};
}

// A parameter that no token of this rank has used has no gradient yet; it counts as zero, as that
// of frozen rows does, so that neither the norm nor the check for finite numbers sees it.
std::vector<Tensor> TrainStep::local_gradients() const {
  std::vector<Tensor> gradients;
  for (const Parameter& parameter : parts_.adapters.parameters()) {
    const Tensor& gradient = parameter.value.grad();
    gradients.push_back(gradient.defined() ? gradient.contiguous()
                                           : at::zeros_like(parameter.value.detach()));
    for (const int64_t row : parameter.frozen_rows) gradients.back().select(0, row).zero_();
  }
  return gradients;
}

void TrainStep::reduce(const Totals& totals, Stop stop, StepResult& result) {
  const at::NoGradGuard no_grad;
  gradients_ = parts_.sync.sum(local_gradients());

  std::vector<double> sums = {totals.loss_sum, static_cast<double>(totals.supervised),
                              stop == Stop::kRequested ? 1.0 : 0.0,
                              static_cast<double>(statistics_.num_tokens)};
  const size_t fixed = sums.size();
  for (const Tensor& part :
       {statistics_.counts_RE.to(at::kDouble), statistics_.prob_sum_RE, statistics_.z_sum_R}) {
    const Tensor flat = part.flatten().contiguous();
    sums.insert(sums.end(), flat.const_data_ptr<double>(),
                flat.const_data_ptr<double>() + flat.numel());
  }
  std::span<double> summed(sums);
  if (MOLORA_MUTANT(kStepSumsOfThisRank)) summed = summed.first(0);
  if (MOLORA_MUTANT(kStepRoutersOfThisRank)) summed = summed.first(fixed);
  fixed_order_sum(mesh().axis(Axis::kAll), summed);

  if (MOLORA_MUTANT(kLossOfThisRank) && mesh().world_rank() != 0) sums[0] = totals.loss_sum;
  result.supervised = std::llround(sums[1]);
  result.loss = sums[0] / sums[1];
  result.is_stop_requested = sums[2] > 0.0;
  RouterStatistics all = empty_router_statistics(parts_.adapters);
  all.num_tokens = std::llround(sums[3]);
  const double* at = sums.data() + fixed;
  const auto take = [&at](const Tensor& shape_of) {
    Tensor taken = at::empty(shape_of.sizes(), at::kDouble);
    std::copy_n(at, taken.numel(), taken.data_ptr<double>());
    at += taken.numel();
    return taken;
  };
  all.counts_RE = take(all.counts_RE).round().to(at::kLong);
  all.prob_sum_RE = take(all.prob_sum_RE);
  all.z_sum_R = take(all.z_sum_R);
  const AuxiliaryLosses auxiliary = auxiliary_losses(all, parts_.adapters);
  result.balance_loss = auxiliary.balance;
  result.z_loss = auxiliary.z;
  result.expert_counts_RE = all.counts_RE;
}

// Every rank knows the same norms, so every rank comes to the same decision without asking.
void TrainStep::clip_and_update(StepResult& result) {
  const at::NoGradGuard no_grad;
  for (Tensor& gradient : gradients_) gradient.div_(static_cast<double>(result.supervised));
  double square_sum = 0.0;
  const std::vector<double> squares = parts_.sync.square_norms(gradients_);
  for (size_t i = 0; i < squares.size(); ++i) {
    square_sum += squares[i];
    if (!std::isfinite(squares[i]) && result.nonfinite_parameter.empty()) {
      result.nonfinite_parameter = parts_.adapters.parameters()[i].name;
    }
  }
  result.grad_norm = std::sqrt(square_sum);
  result.is_skipped = !std::isfinite(result.grad_norm) || !std::isfinite(result.loss);
  if (result.is_skipped) return;

  // As torch.nn.utils.clip_grad_norm_, small constant included.
  const double limit = options_.train.clip_norm();
  const double factor = limit > 0.0 ? std::min(1.0, limit / (result.grad_norm + 1e-6)) : 1.0;
  std::vector<Tensor> clipped = gradients_;
  if (factor < 1.0) {
    for (Tensor& gradient : clipped) gradient = gradient * factor;
  }
  parts_.optimizer.update(clipped, result.learning_rate);
  parts_.sync.share_updates();
}

}  // namespace molora
