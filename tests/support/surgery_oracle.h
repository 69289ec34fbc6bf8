// The law of expert surgery: the first forward pass of a run that goes on with other experts is the
// one that its checkpoint would have made, on every layout; and from there many ranks equal one.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "checkpoint/expert_surgery.h"
#include "support/oracle.h"

namespace molora::testing {

// A checkpoint and how its run goes on.
struct SurgeryCase {
  std::string name;
  RunConfig stored;
  RunConfig wanted;
  // What the adapters of the checkpoint are made of random ones.
  std::function<void(AdapterSet&)> prepare = [](AdapterSet&) {};
};

// This rank's slices under the names of a checkpoint; storage is shared.
inline TrainingState state_of(TrainedModel& run) {
  TrainingState state;
  const auto slice = [](const std::string& kind, const Parameter& of, const at::Tensor& value) {
    return TensorSlice{kind + of.name, value, of.global_shape, of.offset, of.value.scalar_type()};
  };
  for (const Parameter& parameter : run.adapters().parameters()) {
    state.adapter.push_back(slice("adapter/", parameter, parameter.value.detach()));
  }
  const AdamW& optimizer = run.optimizer();
  for (size_t i = 0; i < optimizer.parameters().size(); ++i) {
    const Parameter& parameter = optimizer.parameters()[i];
    state.optimizer.push_back(slice("adamw.first/", parameter, optimizer.first_moments()[i]));
    state.optimizer.push_back(slice("adamw.second/", parameter, optimizer.second_moments()[i]));
  }
  return state;
}

class SurgeryOracle {
 public:
  SurgeryOracle(const SurgeryCase& of, at::ScalarType type)
      : of_(of), type_(type), plan_(plan_surgery(of.stored, of.wanted)) {
    write_tiny_model(folder_.path(), model_for(2));
    for (int32_t i = 0; i < 4; ++i) {
      prompts_.push_back({static_cast<int32_t>(3 * i + 1)});
      for (int32_t t = 0; t < 4 * i; ++t) prompts_.back().push_back((7 * t + i) % 36);
    }
    make_checkpoint();
  }

  // How far the logits of one rank's first forward pass are from those of the checkpoint: the norm
  // of the difference as a share of theirs, of all prompts together.
  double forward_difference() const { return run(RunShape{}, 0)->forward_difference; }

  // The first forward pass of each layout is that of the checkpoint, and what is trained from there
  // is what one rank trains.
  void expect(const std::vector<RunShape>& shapes) const {
    const auto single = run(RunShape{}, kOracleSteps);
    for (const RunShape& shape : shapes) {
      const auto got = run(shape, kOracleSteps);
      EXPECT_LE(got->forward_difference, kFp64SumTolerance) << text_of(shape);
      EXPECT_EQ(compare(got->training, single->training, kFp64SumTolerance), "") << text_of(shape);
    }
  }

 private:
  struct Outcome {
    double forward_difference = 0.0;
    RunOutcome training;
  };

  static TrainConfig train_config() {
    TrainConfig train;
    train.set_micro_batch_size(2);
    train.set_clip_norm(0.5);
    train.set_weight_decay(0.01);
    train.set_adam_eps(1e-4);
    return train;
  }

  TrainedModel model_on(const RunShape& shape, const RunConfig& config, Communicator& world) const {
    const int kv_heads = model_for(2).at("num_key_value_heads").get<int>();
    return {folder_.path(),
            config.adapter(),
            Mesh(world,
                 mesh_shape(shape.num_ranks, shape.tp, shape.ep, std::max(1, shape.tp / kv_heads))),
            shape.layout,
            type_,
            {.train = train_config(), .optimizer = shape.optimizer}};
  }

  std::vector<at::Tensor> logits_of(const CausalLM& model) const {
    const at::NoGradGuard no_grad;
    std::vector<at::Tensor> logits;
    for (const auto& prompt : prompts_) {
      const TokenBatch batch = make_token_batch({prompt}, {0});
      logits.push_back(model.logits(model.hidden_states({.batch = batch})));
    }
    model.join_others();
    return logits;
  }

  void make_checkpoint() {
    const auto world = make_single_communicator("world");
    TrainedModel run = model_on(RunShape{}, of_.stored, *world);
    randomize(run.adapters(), 21, 0.3);
    of_.prepare(run.adapters());
    for (const TensorSlice& slice : state_of(run).adapter) stored_[slice.name] = slice.value;
    for (const TensorSlice& slice : state_of(run).optimizer) {
      at::Tensor moment = at::empty_like(slice.value);
      fill_uniform(moment, 0.1, philox_key(5, RandomPurpose::kAdapterInit, slice.name, 0), 0);
      stored_[slice.name] =
          slice.name.starts_with("adamw.second") ? moment.square() + 0.01 : moment;
    }
    logits_ = logits_of(run.loaded().model());
  }

  std::unique_ptr<Outcome> run(const RunShape& shape, int64_t num_steps) const {
    auto outcome = std::make_unique<Outcome>();
    const auto ranks = static_cast<size_t>(shape.num_ranks);
    std::vector<double> differences(ranks);
    std::vector<std::vector<StepResult>> steps(ranks);
    run_rank_threads(
        shape.num_ranks,
        [&](Communicator& world) {
          const auto rank = static_cast<size_t>(world.rank());
          TrainedModel run = model_on(shape, of_.wanted, world);
          TrainingState state = state_of(run);
          load_with_surgery(
              plan_, [this](const std::string& name) { return stored_.at(name); }, state);
          run.optimizer().set_num_updates(7);
          differences[rank] = difference_of(logits_of(run.loaded().model()));
          steps[rank] = train(run, num_steps, outcome->training);
        },
        shape.threads);
    for (const double difference : differences) {
      outcome->forward_difference = worse(outcome->forward_difference, difference);
    }
    outcome->training.steps = steps[0];
    for (size_t rank = 1; rank < ranks; ++rank) {
      if (!std::equal(steps[0].begin(), steps[0].end(), steps[rank].begin(), is_same_result)) {
        outcome->training.rank_fault = fmt::format("rank {} is told other results", rank);
      }
    }
    return outcome;
  }

  // The larger one; NaN is larger than everything.
  static double worse(double a, double b) { return a > b || std::isnan(a) ? a : b; }

  double difference_of(const std::vector<at::Tensor>& logits) const {
    double squares = 0.0;
    double of = 0.0;
    for (size_t i = 0; i < logits.size(); ++i) {
      const at::Tensor expected = logits_[i].to(at::kDouble);
      squares += (logits[i].to(at::kDouble) - expected).square().sum().item<double>();
      of += expected.square().sum().item<double>();
    }
    return std::sqrt(squares / of);
  }

  static std::vector<StepResult> train(TrainedModel& run, int64_t num_steps, RunOutcome& outcome) {
    std::vector<StepResult> results;
    const auto vocab = static_cast<int32_t>(run.loaded().architecture().vocab_size);
    const auto& updated = run.optimizer().parameters();
    for (int64_t step = 0; step < num_steps; ++step) {
      results.push_back(run.step().run(step,
                                       deal_rows(random_rows(5, 1000 * step, vocab),
                                                 run.mesh().dp_rank(), run.mesh().shape().dp, 2),
                                       1e-3));
      for (size_t p = 0; step == 0 && p < updated.size(); ++p) {
        outcome.first_gradients.add(updated[p], run.step().gradients()[p]);
      }
    }
    for (const Parameter& parameter : run.adapters().parameters()) {
      outcome.parameters.add(parameter, parameter.value.detach());
    }
    return results;
  }

  SurgeryCase of_;
  at::ScalarType type_;
  SurgeryPlan plan_;
  TempFolder folder_;
  std::vector<std::vector<int32_t>> prompts_;
  std::map<std::string, at::Tensor> stored_;
  std::vector<at::Tensor> logits_;  // of the checkpoint, by prompt
};

}  // namespace molora::testing
