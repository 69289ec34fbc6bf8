#include "train/train_step.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <limits>
#include <string>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/check.h"
#include "base/error.h"
#include "base/mutation.h"
#include "comm/fixed_order_sum.h"
#include "device/compute_device.h"
#include "parallel/tensor_collectives.h"
#include "tensor/tensor_bytes.h"
#include "train/expert_revival.h"
#include "train/loss.h"
#include "watch/black_box.h"
#include "watch/fault_injection.h"
#include "watch/place.h"

namespace molora {

namespace {

// What the action raise_loss makes of a balance loss, and of none.
constexpr double kRaisedBy = 10.0;
constexpr double kRaisedFromZero = 0.01;
// How far the action bias moves the choice's bias in a step where nothing else does.
constexpr double kAlarmedBiasRate = 0.01;

TokenBatch placed(const TokenBatch& tokens, at::Device device) {
  RECORD_FUNCTION("molora::step.batch", {});
  return on_device(tokens, device);
}

// Makes one element not-a-number, or flips the highest bit of its exponent.
template <typename Number, typename Bits>
void damage_element(Number& element, InjectedKind kind) {
  static_assert(sizeof(Number) == sizeof(Bits));
  Bits bits = std::bit_cast<Bits>(element) ^ (Bits{1} << (8 * sizeof(Bits) - 2));
  element = kind == InjectedKind::kNan ? std::numeric_limits<Number>::quiet_NaN()
                                       : std::bit_cast<Number>(bits);
}

// The first gradient of this rank that is not all zero gets its first such element damaged: what a
// faulty machine does (watch/fault_injection.h).
void damage_gradients(const std::vector<Parameter>& parameters, InjectedKind kind) {
  for (const Parameter& parameter : parameters) {
    Tensor& gradient = parameter.value.mutable_grad();
    if (!gradient.defined() || gradient.count_nonzero().item<int64_t>() == 0) continue;
    Tensor damaged = to_host(gradient).clone(at::MemoryFormat::Contiguous);
    const auto at = damaged.flatten().nonzero()[0][0].item<int64_t>();
    if (damaged.scalar_type() == at::kDouble) {
      damage_element<double, uint64_t>(damaged.mutable_data_ptr<double>()[at], kind);
    } else {
      MOLORA_CHECK(damaged.scalar_type() == at::kFloat, "{}", parameter.name);
      damage_element<float, uint32_t>(damaged.mutable_data_ptr<float>()[at], kind);
    }
    gradient.copy_(damaged);
    return;
  }
}

std::string norm_text(const StepCheck& check) {
  const double loss = std::isnan(check.loss) ? std::abs(check.loss) : check.loss;  // no "-nan"
  std::string text = fmt::format("gradient norm {:.4g}, loss {:.4g}", check.grad_norm, loss);
  if (check.median_norm) text += fmt::format(", median norm {:.4g}", *check.median_norm);
  return text;
}

// Of the first `count` rows of load_NE: the share of each column; empty where there is nothing.
std::vector<std::vector<double>> shares_of_rows(const Tensor& load_NE, int64_t count) {
  std::vector<std::vector<double>> all;
  for (int64_t row = 0; row < count; ++row) {
    const Tensor load_E = load_NE.select(0, row);
    const auto sum = load_E.sum().item<double>();
    std::vector<double> shares;
    if (sum > 0.0) {
      for (const double load : elements<double>(load_E)) shares.push_back(load / sum);
    }
    all.push_back(std::move(shares));
  }
  return all;
}

}  // namespace

TrainStep::TrainStep(const Parts& parts, const Options& options)
    : parts_(parts), options_(options), health_(parts.adapters, options.router) {
  if (parts_.adapters.num_routers() > 0) {
    auxiliary_.z_coef = options_.router.z_loss_coef();
    auxiliary_.entropy_coef = options_.router.entropy_loss_coef();
    if (options_.router.localized_balance().coef() != 0.0) {
      first_half_tasks_ = tasks_of_first_half(options_.router.localized_balance(), options_.tasks);
    }
  }
}

StepResult TrainStep::run(int64_t step, const StepRows& rows, double learning_rate, Stop stop) {
  return run(step, make_step_input(rows, options_.train.micro_batch_size(), parts_.model.device()),
             learning_rate, stop);
}

StepResult TrainStep::run(int64_t step, const StepInput& input, double learning_rate, Stop stop) {
  MOLORA_CHECK(input.rows.step_supervised > 0, "step {} has nothing to learn from", step);
  const Task task{step, input.rows, input.batches, stop};
  StepResult result = compute(task);
  if (looks_wrong(result)) result = check_again(task, result);
  result.learning_rate = learning_rate;
  if (result.is_skipped) return result;
  clip_and_update(result);
  look_after_routers(result);
  return result;
}

// Everything but the update; from the parameters and the task alone, so that it can be done again.
StepResult TrainStep::compute(const Task& task) {
  StepResult result;
  result.step = task.step;
  result.tokens = task.rows.step_tokens;
  result.samples = task.rows.step_samples;
  for (const TrainRow& row : task.rows.rows) {
    for (const TrainSequence& sequence : row) result.rank_tokens += std::ssize(sequence.ids);
  }

  const int64_t routers = options_.router.loss_across_routers() == RouterConfig::sum
                              ? 1
                              : std::max<int64_t>(1, parts_.adapters.num_routers());
  auxiliary_.balance_coef = balance_coef();
  auxiliary_.scale = static_cast<double>(task.rows.step_supervised) /
                     (static_cast<double>(task.rows.step_tokens) * static_cast<double>(routers));
  auxiliary_.slope_RSE = Tensor();
  choices_.assign(static_cast<size_t>(task.rows.num_micro_steps), RoutingChoices{});
  ask_for_statistics(task);
  if (auxiliary_.balance_coef != 0.0 || statistics_.importance_RSE.defined()) {
    count_choices_ahead(task);
  }

  const Totals totals = accumulate_gradients(task);
  reduce(totals, task.stop, result);
  MOLORA_CHECK_EQ(result.supervised, task.rows.step_supervised, "supervised tokens of step {}",
                  task.step);
  measure(result);
  return result;
}

// As it is configured, or as an alarm has raised it.
double TrainStep::balance_coef() const {
  if (parts_.adapters.num_routers() == 0) return 0.0;
  const double coef = options_.router.balance_loss_coef();
  if (options_.router.health().action() != RouterHealthConfig::raise_loss ||
      !health_.has_collapsed()) {
    return coef;
  }
  return coef == 0.0 ? kRaisedFromZero : kRaisedBy * coef;
}

// Whether the step's report tells of the routers.
bool TrainStep::is_read(int64_t step) const {
  const auto every = static_cast<int64_t>(options_.router.health().every());
  return parts_.adapters.num_routers() > 0 && every > 0 && (step + 1) % every == 0;
}

void TrainStep::ask_for_statistics(const Task& task) {
  statistics_ = empty_router_statistics(parts_.adapters, parts_.model.device());
  const int64_t routers = statistics_.counts_RE.size(0);
  const int64_t experts = statistics_.counts_RE.size(1);
  const auto options = statistics_.z_sum_R.options();
  if (is_read(task.step) || auxiliary_.entropy_coef != 0.0) {
    statistics_.entropy_sum_R = at::zeros({routers}, options);
  }
  const bool is_localized = routers > 0 && options_.router.localized_balance().coef() != 0.0;
  if (!is_read(task.step) && !is_localized) return;
  std::vector<int64_t> numbers;
  for (const StepSample& sample : task.rows.samples) numbers.push_back(sample.sample);
  statistics_.sample_numbers_S = to_device(at::tensor(numbers, at::kLong), parts_.model.device());
  if (is_localized) {
    statistics_.importance_RSE = at::zeros({routers, std::ssize(numbers), experts}, options);
  }
  if (!is_read(task.step)) return;
  const int64_t groups = (std::ssize(options_.tasks) + 1) * (std::ssize(options_.scripts) + 1);
  statistics_.group_load_NE = at::zeros({groups, experts}, options);
  statistics_.groups_S = to_device(groups_of(task.rows.samples), parts_.model.device());
}

// A group is a task and a script; the last of either is an unknown one.
Tensor TrainStep::groups_of(const std::vector<StepSample>& samples) const {
  const auto known_or_last = [](int64_t number, int64_t count) {
    return number >= 0 && number < count ? number : count;
  };
  const int64_t num_scripts = std::ssize(options_.scripts);
  std::vector<int64_t> groups;
  groups.reserve(samples.size());
  for (const StepSample& sample : samples) {
    groups.push_back(known_or_last(sample.task, std::ssize(options_.tasks)) * (num_scripts + 1) +
                     known_or_last(sample.script, num_scripts));
  }
  return at::tensor(groups, at::kLong);
}

// The balance losses need to know the whole step before the first backward pass: one forward pass
// without gradients finds it, and its choices are used again afterwards.
void TrainStep::count_choices_ahead(const Task& task) {
  const at::NoGradGuard no_grad;
  for (int64_t m = 0; m < task.rows.num_micro_steps; ++m) {
    micro_step(task, m);
  }
  if (statistics_.importance_RSE.defined()) measure_samples(task);
  if (auxiliary_.balance_coef == 0.0) return;
  Tensor counts_RE = statistics_.counts_RE.clone();
  if (!MOLORA_MUTANT(kStatisticsOfThisRank)) {
    const PlaceScope place("expert shares");
    counts_RE = all_reduce_sum(mesh().axis(Axis::kAll), counts_RE);
  }
  auxiliary_.share_RE = expert_shares(counts_RE, task.rows.step_tokens * options_.router.heads(),
                                      parts_.adapters, options_.router.loss_across_routers());
}

// What the localized loss needs to know: how much of each sample went to each expert.
void TrainStep::measure_samples(const Task& task) {
  Tensor importance_RSE = statistics_.importance_RSE;
  if (!MOLORA_MUTANT(kImportanceOfThisRank)) {
    const PlaceScope place("shares of samples");
    importance_RSE = all_reduce_sum(mesh().axis(Axis::kAll), importance_RSE);
  }
  const auto samples = std::ssize(task.rows.samples);
  Tensor prefers_first_S = at::zeros({samples}, at::kBool);
  for (int64_t s = 0; s < samples; ++s) {
    const int64_t of = task.rows.samples[static_cast<size_t>(s)].task;
    const bool is_known = of >= 0 && of < std::ssize(first_half_tasks_);
    prefers_first_S[s] = is_known && first_half_tasks_[static_cast<size_t>(of)];
  }
  const LocalizedBalanceConfig& config = options_.router.localized_balance();
  const LocalizedLoss loss =
      localized_loss(importance_RSE, to_device(prefers_first_S, parts_.model.device()),
                     config.delta(), parts_.adapters, options_.router.loss_across_routers());
  localized_loss_ = loss.value;
  auxiliary_.slope_RSE =
      loss.slope_RSE * (config.coef() * static_cast<double>(task.rows.step_supervised));
  auxiliary_.sample_numbers_S = statistics_.sample_numbers_S;
}

TrainStep::Totals TrainStep::accumulate_gradients(const Task& task) {
  for (const Parameter& parameter : parts_.adapters.parameters()) {
    parameter.value.mutable_grad().reset();
  }
  Totals totals;
  for (int64_t m = 0; m < task.rows.num_micro_steps; ++m) {
    fault_point(FaultPhase::kForward, task.step + 1);
    const Totals part = micro_step(task, m);
    if (part.loss_sum.defined()) {
      totals.loss_sum = totals.loss_sum.defined() ? totals.loss_sum + part.loss_sum : part.loss_sum;
    }
    totals.supervised += part.supervised;
  }
  return totals;
}

Tensor TrainStep::hidden_of(const ForwardContext& context) const {
  RECORD_FUNCTION("molora::step.forward", {});
  return parts_.model.hidden_states(context);
}

TokenLoss TrainStep::loss_of(const Tensor& hidden, const MicroBatch& batch,
                             const ForwardContext& context) const {
  RECORD_FUNCTION("molora::step.loss", {});
  const Tensor states_ND = parts_.model.head_states(hidden, batch.predictors_N, context);
  return next_token_loss(parts_.model, states_ND,
                         to_device(batch.targets_N, parts_.model.device()));
}

TrainStep::Totals TrainStep::micro_step(const Task& task, int64_t m) {
  const MicroBatch& batch = task.batches[static_cast<size_t>(m)];
  RoutingChoices& choices = choices_[static_cast<size_t>(m)];
  const TokenBatch tokens = placed(batch.tokens, parts_.model.device());
  const ForwardContext context{
      .batch = tokens,
      .mode = ForwardMode::kTrain,
      .routing = {.choices = &choices, .statistics = &statistics_, .auxiliary = &auxiliary_},
      .seed = options_.seed,
      .step = static_cast<uint64_t>(task.step),
      .recompute = options_.train.activation_checkpointing()};
  const Tensor hidden = hidden_of(context);
  const TokenLoss loss = loss_of(hidden, batch, context);
  if (at::GradMode::is_enabled()) {
    fault_point(FaultPhase::kBackward, task.step + 1);
    if (loss.sum.requires_grad()) {
      RECORD_FUNCTION("molora::step.backward", {});
      loss.sum.backward();
    }
    if (const auto fault = take_gradient_fault()) {
      damage_gradients(parts_.adapters.parameters(), *fault);
    }
  }
  if (BlackBox* box = thread_black_box()) box->tick();
  // Every tp rank has the same loss; the first one's is counted.
  if (mesh().tp_rank() != 0 && !MOLORA_MUTANT(kLossOnEveryTpRank)) return {};
  return {loss.sum.detach(), batch.targets_N.size(0)};
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

// The loss and the routers' statistics of this rank as one tensor on the CPU. The host waits for
// the device here, after the backward passes, once a step: what is summed and logged has to be
// known.
Tensor TrainStep::numbers_of_device(const Totals& totals) const {
  const Tensor& sum = totals.loss_sum;
  std::vector<Tensor> parts = {sum.defined() ? sum.reshape({1})
                                             : at::zeros({1}, statistics_.z_sum_R.options())};
  parts.push_back(statistics_.counts_RE.to(at::kDouble).flatten());
  parts.push_back(statistics_.prob_sum_RE.flatten());
  parts.push_back(statistics_.z_sum_R);
  for (const Tensor& asked : {statistics_.entropy_sum_R, statistics_.group_load_NE}) {
    if (asked.defined()) parts.push_back(asked.flatten());
  }
  return to_host(at::cat(parts));
}

void TrainStep::reduce(const Totals& totals, Stop stop, StepResult& result) {
  const at::NoGradGuard no_grad;
  RECORD_FUNCTION("molora::step.sums", {});
  fault_point(FaultPhase::kSync, result.step + 1);
  {
    const PlaceScope place("gradient sums");
    gradients_ = parts_.sync.sum(local_gradients());
  }

  const Tensor of_device = numbers_of_device(totals);
  const std::span<const double> numbers = elements<double>(of_device);
  std::vector<double> sums = {numbers.front(), static_cast<double>(totals.supervised),
                              stop == Stop::kRequested ? 1.0 : 0.0,
                              static_cast<double>(statistics_.num_tokens)};
  const size_t fixed = sums.size();
  sums.insert(sums.end(), numbers.begin() + 1, numbers.end());
  numbers_ = sums;
  std::span<double> summed(sums);
  if (MOLORA_MUTANT(kStepSumsOfThisRank)) summed = summed.first(0);
  if (MOLORA_MUTANT(kStepRoutersOfThisRank)) summed = summed.first(fixed);
  {
    const PlaceScope place("step statistics");
    fixed_order_sum(mesh().host(Axis::kAll), summed);
  }
  summed_ = sums;

  if (MOLORA_MUTANT(kLossOfThisRank) && mesh().world_rank() != 0) sums[0] = numbers.front();
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
  if (statistics_.entropy_sum_R.defined()) all.entropy_sum_R = take(statistics_.entropy_sum_R);
  if (statistics_.group_load_NE.defined()) all.group_load_NE = take(statistics_.group_load_NE);
  all_statistics_ = all;
  const AuxiliaryLosses auxiliary =
      auxiliary_losses(all, parts_.adapters, options_.router.loss_across_routers());
  result.balance_loss = auxiliary.balance;
  result.z_loss = auxiliary.z;
  if (auxiliary_.entropy_coef != 0.0) result.entropy_loss = auxiliary.entropy;
  // Made before the backward passes: nobody waits.
  if (auxiliary_.slope_RSE.defined()) {
    result.localized_balance_loss = to_host(localized_loss_).item<double>();
  }
  result.expert_counts_RE = all.counts_RE;
}

// Every rank knows the same norms, so every rank comes to the same decision without asking.
void TrainStep::measure(StepResult& result) {
  const at::NoGradGuard no_grad;
  RECORD_FUNCTION("molora::step.norms", {});
  const PlaceScope place("norms");
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
}

bool TrainStep::looks_wrong(const StepResult& result) const {
  const double factor = options_.train.spike_factor();
  if (factor == 0.0) return false;
  const std::optional<double> median = norms_.median();
  return result.is_skipped || (median && result.grad_norm > factor * *median);
}

StepEvidence TrainStep::evidence() const {
  return {numbers_, local_gradients(), summed_, gradients_};
}

// Two computations with the same bits on every rank are right; the third decides when the first two
// differ. Whichever is used, its bits are those that are here now.
StepResult TrainStep::check_again(const Task& task, const StepResult& first) {
  const PlaceScope place("step check");
  const Traffic before = mesh().traffic();
  StepCheck check{.loss = first.loss, .grad_norm = first.grad_norm, .median_norm = norms_.median()};
  const auto differences = [this](const StepEvidence& a, const StepEvidence& b) {
    const at::NoGradGuard no_grad;
    return differences_of_all(
        mesh().host(Axis::kAll),
        first_difference(a, b, parts_.adapters.parameters(), parts_.sync.updated()));
  };
  const StepEvidence one = evidence();
  StepResult result = compute(task);
  const StepEvidence two = evidence();
  const std::vector<RankDifference> found = differences(one, two);
  std::string verdict = "with the same bits: it is the model's own";
  if (!found.empty()) {
    check.num_computations = 3;
    for (const RankDifference& difference : found) check.ranks.push_back(difference.rank);
    result = compute(task);
    const StepEvidence three = evidence();
    const bool is_second_right = differences(two, three).empty();
    const bool is_first_right = differences(one, three).empty();
    if (!is_first_right && !is_second_right) {
      throw InternalError(fmt::format(
          "step {} was computed three times and came to three results ({}); {}. Nothing was "
          "updated, the last checkpoint is untouched",
          task.step + 1, norm_text(check), differences_text(found)));
    }
    verdict = fmt::format("{}, not of the model; the {} computation is used (gradient norm {:.4g})",
                          differences_text(found), is_second_right ? "second" : "first",
                          result.grad_norm);
  }
  if (mesh().world_rank() == 0) {
    spdlog::warn("step {}: {}; computed again{} {}", task.step + 1, norm_text(check),
                 found.empty() ? "" : ":", verdict);
  }
  check.traffic = mesh().traffic() - before;
  result.check = check;
  return result;
}

void TrainStep::clip_and_update(const StepResult& result) {
  const at::NoGradGuard no_grad;
  RECORD_FUNCTION("molora::step.update", {});
  fault_point(FaultPhase::kUpdate, result.step + 1);
  // As torch.nn.utils.clip_grad_norm_, small constant included.
  const double limit = options_.train.clip_norm();
  const double factor = limit > 0.0 ? std::min(1.0, limit / (result.grad_norm + 1e-6)) : 1.0;
  parts_.optimizer.update(gradients_, result.learning_rate, factor);
  const PlaceScope place("updates");
  parts_.sync.share_updates();
  norms_.add(result.grad_norm);
}

// Every rank knows the same loads, so every rank does the same without asking.
void TrainStep::look_after_routers(StepResult& result) {
  if (parts_.adapters.num_routers() == 0) return;
  const PlaceScope place("routers");
  move_choice_biases(result.expert_counts_RE);
  result.alarms =
      health_.step_done(result.step + 1, all_statistics_.counts_RE, all_statistics_.prob_sum_RE);
  if (is_read(result.step)) result.routers = read_routers();
  revive_experts_of(result.alarms, result.step + 1);
}

// Balance without a loss: up for experts with less than the mean load, down for the others (Wang et
// al. 2024, arXiv 2408.15664). In whole numbers: sign(mean - load) = sign(sum - experts * load).
void TrainStep::move_choice_biases(const Tensor& counts_RE) {
  const at::NoGradGuard no_grad;
  const RouterConfig& router = options_.router;
  for (const LinearAdapter& linear : parts_.adapters.linears()) {
    if (!linear.choice_bias.defined()) continue;
    double rate = router.bias_update_rate();
    if (rate == 0.0 && router.health().action() == RouterHealthConfig::bias &&
        health_.is_collapsed(linear.router_index)) {
      rate = kAlarmedBiasRate;
    }
    if (rate == 0.0) continue;
    const int64_t experts = linear.spec.num_routed();
    const Tensor counts_E = counts_RE.select(0, linear.router_index).slice(0, 0, experts);
    const Tensor direction_E = (counts_E.sum() - counts_E * experts).sign();
    const Tensor bias = linear.choice_bias.detach();
    bias.add_(direction_E.to(bias.scalar_type()).to(bias.device()), rate);
  }
}

void TrainStep::revive_experts_of(const std::vector<RouterAlarm>& alarms, int64_t step) {
  if (options_.router.health().action() != RouterHealthConfig::revive) return;
  std::vector<Revival> revivals;
  for (const RouterAlarm& alarm : alarms) {
    if (alarm.kind == RouterAlarm::Kind::kRecovered) continue;
    const auto most = std::max_element(alarm.load.begin(), alarm.load.end());
    revivals.push_back({alarm.router, most - alarm.load.begin(), alarm.dead});
    health_.forget(alarm.router);
  }
  revive_experts({parts_.adapters, parts_.optimizer, mesh()}, revivals, options_.seed, step);
}

RouterReading TrainStep::read_routers() const {
  RouterReading reading;
  const auto tokens = static_cast<double>(std::max<int64_t>(1, all_statistics_.num_tokens));
  const std::span<const double> entropies = elements<double>(all_statistics_.entropy_sum_R);
  for (int64_t r = 0; r < health_.num_routers(); ++r) {
    reading.routers.push_back({health_.name(r), health_.load(r), health_.dead(r),
                               entropies[static_cast<size_t>(r)] / tokens});
  }
  const Tensor load_TSE = all_statistics_.group_load_NE.unflatten(
      0, {std::ssize(options_.tasks) + 1, std::ssize(options_.scripts) + 1});
  reading.task_loads = shares_of_rows(load_TSE.sum(1), std::ssize(options_.tasks));
  reading.script_loads = shares_of_rows(load_TSE.sum(0), std::ssize(options_.scripts));
  return reading;
}

}  // namespace molora
