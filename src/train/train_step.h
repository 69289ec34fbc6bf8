// One optimizer step: forward and backward over the rows of this rank, one sum over the ranks,
// clip, update.
//
// The arithmetic, so that the result does not depend on how rows are dealt out or cut into
// micro-steps: the loss of a micro-step is a sum over its supervised tokens, every gradient is a
// plain sum over micro-steps and ranks, and one division by the step's supervised tokens comes
// last:
//
//   gradient = (sum over ranks, micro-steps, tokens of d nll / d theta) / supervised tokens
//
// Collectives of one step besides those of the forward and backward passes (model/decoder.h), in
// this order on every rank:
//   1. only with a balance loss: sum of the experts' token counts   all   routers * experts int64
//      only with a localized one: sum of the samples' shares        all   routers * samples *
//      experts
//   2. gradients to their owners                                    by sync group (gradient_sync.h)
//   3. sum of the step's statistics                                 all   4 + 2 routers * experts
//   ..
//   4. sum of the squared norms                                     all   one fp64 per parameter
//   5. updated values to everybody                                  by sync group
//   6. only when experts begin anew: what they are copied from      ep or tp (expert_revival.h)
// A step that looks wrong (train.spike_factor) does 1 to 4 and the passes once more, or twice, each
// time followed by a comparison (step_check.h), before 5.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "model/decoder.h"
#include "model/router_losses.h"
#include "parallel/gradient_sync.h"
#include "run_config.pb.h"
#include "train/adamw.h"
#include "train/micro_batch.h"
#include "train/router_health.h"
#include "train/step_check.h"
#include "train/step_rows.h"

namespace molora {

struct MicroBatch;
struct TokenLoss;

using at::Tensor;

// What the routers do, told now and then (adapter.router.health.every).
struct RouterReading {
  struct Router {
    std::string name;
    std::vector<double> load;   // share of each expert over the latest steps (router_health.h)
    std::vector<int64_t> dead;  // experts
    double entropy = 0.0;       // of the softmax, mean over the tokens of this step
  };
  std::vector<Router> routers;
  // By the number of a task, and by that of a script: of what its tokens of this step chose, over
  // all routers, the share of each expert; empty without tokens.
  std::vector<std::vector<double>> task_loads;
  std::vector<std::vector<double>> script_loads;
};

// Of the whole step, over all ranks, the same on every rank.
struct StepResult {
  int64_t step = 0;
  double loss = 0.0;       // mean negative log-likelihood per supervised token
  double grad_norm = 0.0;  // of the whole gradient, before clipping
  double learning_rate = 0.0;
  double balance_loss = 0.0;  // unweighted values; part of the gradient when their weight is not 0
  double z_loss = 0.0;
  std::optional<double> entropy_loss;  // these two only when they are part of the gradient
  std::optional<double> localized_balance_loss;
  int64_t tokens = 0;
  int64_t supervised = 0;
  int64_t samples = 0;
  bool is_skipped = false;         // loss or gradient was not finite: nothing was updated
  bool is_stop_requested = false;  // some rank was asked to stop
  Tensor expert_counts_RE;         // [routers, experts] int64: choices per expert
  std::optional<RouterReading> routers;
  std::vector<RouterAlarm> alarms;  // after this step
  std::string nonfinite_parameter;  // the first whose gradient is not finite; empty: none
  std::optional<StepCheck> check;   // when it was computed more than once
  int64_t rank_tokens = 0;          // that this rank worked on: not the same on every rank
};

class TrainStep {
 public:
  // All arguments are referred to and must outlive this object. `optimizer`: over the parameters
  // that `sync` says this rank updates.
  struct Parts {
    const CausalLM& model;
    AdapterSet& adapters;
    const GradientSync& sync;
    AdamW& optimizer;
  };
  struct Options {
    TrainConfig train;
    RouterConfig router;
    uint64_t seed = 0;
    // Of the training data, by their numbers: tasks, and what samples are written in.
    std::vector<std::string> tasks = {};
    std::vector<std::string> scripts = {};
  };
  // Throws: ConfigError when the localized balance loss names a task that is not there.
  TrainStep(const Parts& parts, const Options& options);

  // Collective. `stop_requested`: whether this rank was asked to stop; reported to all in the
  // result. What a machine has computed wrong is left out when another computation shows it: the
  // result is that of a step in which nothing had happened.
  // Throws: InternalError when three computations of a step came to three results.
  enum class Stop { kNo, kRequested };
  StepResult run(int64_t step, const StepInput& input, double learning_rate, Stop stop = Stop::kNo);
  // Makes the tensors of the rows first.
  StepResult run(int64_t step, const StepRows& rows, double learning_rate, Stop stop = Stop::kNo);

  // Where it computes.
  at::Device device() const { return parts_.model.device(); }

  // The gradients of the latest run, summed and divided, before clipping: of the optimizer's
  // parameters, in its order; for tests.
  const std::vector<Tensor>& gradients() const { return gradients_; }
  // The choices of each micro-step of the latest run; for tests.
  const std::vector<RoutingChoices>& choices() const { return choices_; }

  // What the next step's norm is held against; to be set when a run goes on.
  NormHistory& norms() { return norms_; }
  // What is known of the routers; to be restored when a run goes on.
  RouterHealth& router_health() { return health_; }

 private:
  // What a step is computed from.
  struct Task {
    int64_t step;
    const StepRows& rows;
    const std::vector<MicroBatch>& batches;
    Stop stop;
  };
  struct Totals {
    Tensor loss_sum;  // fp64, where the model is; undefined: none of this rank's
    int64_t supervised = 0;
  };
  StepResult compute(const Task& task);
  double balance_coef() const;
  bool is_read(int64_t step) const;
  void ask_for_statistics(const Task& task);
  void count_choices_ahead(const Task& task);
  void measure_samples(const Task& task);
  Totals accumulate_gradients(const Task& task);
  Totals micro_step(const Task& task, int64_t m);
  Tensor hidden_of(const ForwardContext& context) const;
  TokenLoss loss_of(const Tensor& hidden, const MicroBatch& batch,
                    const ForwardContext& context) const;
  std::vector<Tensor> local_gradients() const;
  Tensor numbers_of_device(const Totals& totals) const;
  const Mesh& mesh() const { return parts_.model.layout().mesh; }
  void reduce(const Totals& totals, Stop stop, StepResult& result);
  void measure(StepResult& result);
  bool looks_wrong(const StepResult& result) const;
  StepResult check_again(const Task& task, const StepResult& first);
  StepEvidence evidence() const;
  void clip_and_update(const StepResult& result);
  Tensor groups_of(const std::vector<StepSample>& samples) const;
  RouterReading read_routers() const;
  void look_after_routers(StepResult& result);
  void move_choice_biases(const Tensor& counts_RE);
  void revive_experts_of(const std::vector<RouterAlarm>& alarms, int64_t step);

  Parts parts_;
  Options options_;
  AuxiliaryGradient auxiliary_;
  RouterStatistics statistics_;
  RouterStatistics all_statistics_;  // of all ranks, as reduce() has summed them
  Tensor localized_loss_;            // undefined without one
  std::vector<bool> first_half_tasks_;
  RouterHealth health_;
  std::vector<Tensor> gradients_;
  std::vector<RoutingChoices> choices_;
  std::vector<double> numbers_;  // of this rank, as reduce() has summed them
  std::vector<double> summed_;
  NormHistory norms_;
};

}  // namespace molora
