// A small training run on any number of rank threads, for tests that compare layouts.
#pragma once

#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/philox.h"
#include "comm/thread_communicator.h"
#include "support/loaded_model.h"
#include "support/random_adapters.h"
#include "train/train_step.h"
#include "watch/fault_injection.h"

namespace molora::testing {

struct RunShape {
  int num_ranks = 1;
  int tp = 1;
  int ep = 1;
  LoadedLayout layout;
  OptimizerPlacement optimizer = OptimizerPlacement::kSharded;
  uint32_t micro_batch_size = 1000;
  TrainConfig::Recompute recompute = TrainConfig::none;
  at::ScalarType type = at::kDouble;
  double weight_decay = 0.0;
  double lora_plus_ratio = 1.0;
  RankThreadOptions threads;
  Mesh::MakeCommunicator make_communicator;  // of ranks on GPUs
  std::string faults;                        // as MOLORA_FAULT
  // Changes the adapters after they were filled with numbers; the same on every rank.
  std::function<void(AdapterSet&)> prepare = [](AdapterSet&) {};
};

// Whole tensors by name, put together from the slices of all ranks.
class WholeTensors {
 public:
  void add(const Parameter& parameter, const at::Tensor& of_device) {
    const at::Tensor slice = of_device.cpu();
    const std::lock_guard<std::mutex> lock(mutex_);
    at::Tensor& whole = tensors_[parameter.name];
    if (!whole.defined()) {
      whole = at::full(parameter.global_shape, std::nan(""), slice.options().requires_grad(false));
    }
    at::Tensor place = slice_of(whole, parameter);
    const bool is_new = place.isnan().all().item<bool>();
    if (!is_new && !at::equal(place, slice) && fault_.empty()) {
      const at::Tensor apart = (place.to(at::kDouble) - slice.to(at::kDouble)).abs();
      fault_ =
          fmt::format("{}: replicas differ in {} of {} numbers, by up to {} ({} are NaN)",
                      parameter.name, place.ne(slice).sum().item<int64_t>(), slice.numel(),
                      apart.nan_to_num().max().item<double>(), apart.isnan().sum().item<int64_t>());
    }
    place.copy_(slice);
  }
  const std::map<std::string, at::Tensor>& tensors() const { return tensors_; }
  // "" when all replicas were equal to the bit, else the first that was not.
  const std::string& fault() const { return fault_; }

 private:
  std::mutex mutex_;
  std::map<std::string, at::Tensor> tensors_;
  std::string fault_;
};

// The largest difference, relative to the largest number of a tensor where that is above 1. NaN
// when a tensor or a part of it is missing, or replicas differ.
inline double difference(const WholeTensors& got, const WholeTensors& expected) {
  if (!got.fault().empty() || got.tensors().size() != expected.tensors().size()) {
    return std::nan("");
  }
  double largest = 0.0;
  for (const auto& [name, value] : expected.tensors()) {
    const auto found = got.tensors().find(name);
    if (found == got.tensors().end()) return std::nan("");
    const at::Tensor a = found->second.to(at::kDouble);
    const at::Tensor b = value.to(at::kDouble);
    const double d =
        (a - b).abs().max().item<double>() / std::max(1.0, b.abs().max().item<double>());
    if (std::isnan(d)) return d;
    largest = std::max(largest, d);
  }
  return largest;
}

// What was found of the routers after a step.
inline std::string text_of_alarms(const StepResult& step) {
  std::string text;
  for (const RouterAlarm& alarm : step.alarms) text += alarm_text(alarm) + "\n";
  return text;
}

// Whether two ranks were told the same of a step.
inline bool is_same_result(const StepResult& a, const StepResult& b) {
  const auto numbers = [](const StepResult& of) {
    return std::tuple(of.step, of.loss, of.grad_norm, of.learning_rate, of.balance_loss, of.z_loss,
                      of.tokens, of.supervised, of.samples, of.is_skipped, of.is_stop_requested,
                      of.check ? of.check->ranks : std::vector<int>{}, of.entropy_loss,
                      of.localized_balance_loss, text_of_alarms(of));
  };
  return numbers(a) == numbers(b) && a.expert_counts_RE.equal(b.expert_counts_RE);
}

struct RunOutcome {
  std::vector<StepResult> steps;
  std::string rank_fault;        // "" when every rank was told the same of every step
  WholeTensors parameters;       // after the last step
  WholeTensors first_gradients;  // of the first step, before clipping
};

// Rows of random samples of random lengths, some rows packed; the same for the same arguments.
// Samples are numbered from first_sample.
inline std::vector<TrainRow> random_rows(int64_t num_rows, int64_t first_sample, int32_t vocab) {
  std::vector<TrainRow> rows;
  int64_t sample = first_sample;
  for (int64_t r = 0; r < num_rows; ++r) {
    TrainRow row;
    const auto per_row = 1 + philox_below(17, static_cast<uint64_t>(sample), 3);
    for (uint32_t s = 0; s < per_row; ++s, ++sample) {
      TrainSequence sequence;
      sequence.sample = sample;
      sequence.task = static_cast<int64_t>(philox_below(16, static_cast<uint64_t>(sample), 4)) - 1;
      sequence.script =
          static_cast<int64_t>(philox_below(21, static_cast<uint64_t>(sample), 3)) - 1;
      const auto length = 2 + philox_below(18, static_cast<uint64_t>(sample), 9);
      for (uint32_t t = 0; t < length; ++t) {
        const auto index = static_cast<uint64_t>(sample) * 64 + t;
        sequence.ids.push_back(
            static_cast<int32_t>(philox_below(19, index, static_cast<uint64_t>(vocab))));
        sequence.supervised.push_back(philox_below(20, index, 3) > 0 || t + 1 == length ? 1 : 0);
      }
      row.push_back(sequence);
    }
    rows.push_back(row);
  }
  return rows;
}

// A model with what trains it, on one rank.
class TrainedModel {
 public:
  struct Options {
    TrainConfig train;
    uint64_t seed = 33;
    OptimizerPlacement optimizer = OptimizerPlacement::kSharded;
  };
  TrainedModel(const std::filesystem::path& folder, const AdapterConfig& adapter, Mesh mesh,
               const LoadedLayout& layout, at::ScalarType type, const Options& options)
      : loaded_(folder, adapter, std::move(mesh), layout, type),
        sync_(loaded_.mesh(), loaded_.adapters().parameters(), options.optimizer),
        optimizer_(sync_.updated_parameters(), options.train),
        step_({loaded_.model(), loaded_.adapters(), sync_, optimizer_},
              {options.train, adapter.router(), options.seed, {"a", "b", "c"}, {"x", "y"}}) {}
  // One rank per member, each with rows of its own.
  TrainedModel(const std::filesystem::path& folder, const AdapterConfig& adapter,
               Communicator& world, at::ScalarType type, const Options& options)
      : TrainedModel(folder, adapter, Mesh(world, mesh_shape(world.size(), 1, 1)), LoadedLayout{},
                     type, options) {}

  LoadedModel& loaded() { return loaded_; }
  AdapterSet& adapters() { return loaded_.adapters(); }
  const Mesh& mesh() const { return loaded_.mesh(); }
  const GradientSync& sync() const { return sync_; }
  AdamW& optimizer() { return optimizer_; }
  TrainStep& step() { return step_; }

 private:
  LoadedModel loaded_;
  GradientSync sync_;
  AdamW optimizer_;
  TrainStep step_;
};

// The rows of each step.
using RowsOfStep = std::function<std::vector<TrainRow>(int64_t step, int32_t vocab)>;

struct TrainingTask {
  const std::filesystem::path& model;
  const AdapterConfig& adapter;
  const RunShape& shape;
  int64_t num_steps;
  const RowsOfStep& rows_of;
};

// This rank's slices.
struct RankOutcome {
  std::vector<std::pair<Parameter, at::Tensor>> parameters;
  std::vector<std::pair<Parameter, at::Tensor>> first_gradients;
};

// Returns what this rank is told of each step.
inline std::vector<StepResult> train_one_rank(const TrainingTask& task, Communicator& world,
                                              RankOutcome& outcome) {
  const RunShape& shape = task.shape;
  const int kv_heads = static_cast<int>(read_architecture(task.model, {}).num_kv_heads);
  const MeshShape mesh_of =
      mesh_shape(shape.num_ranks, shape.tp, shape.ep, std::max(1, shape.tp / kv_heads));
  TrainConfig train;
  train.set_micro_batch_size(shape.micro_batch_size);
  train.set_activation_checkpointing(shape.recompute);
  train.set_clip_norm(0.5);
  train.set_weight_decay(shape.weight_decay);
  train.set_lora_plus_ratio(shape.lora_plus_ratio);
  // Gradients far below this are rounding noise in fp32; their direction must not count.
  train.set_adam_eps(1e-4);
  TrainedModel run(task.model, task.adapter, Mesh(world, mesh_of, shape.make_communicator),
                   shape.layout, shape.type, {.train = train, .optimizer = shape.optimizer});
  randomize(run.adapters(), 21, 0.1);
  shape.prepare(run.adapters());
  arm_faults(parse_faults(shape.faults), world.rank(), 1);
  const auto vocab = static_cast<int32_t>(run.loaded().architecture().vocab_size);
  std::vector<StepResult> results;
  for (int64_t i = 0; i < task.num_steps; ++i) {
    results.push_back(run.step().run(
        i,
        deal_rows(task.rows_of(i, vocab), run.mesh().dp_rank(), mesh_of.dp, shape.micro_batch_size),
        1e-3));
    const auto& updated = run.optimizer().parameters();
    for (size_t p = 0; i == 0 && p < updated.size(); ++p) {
      outcome.first_gradients.emplace_back(updated[p], run.step().gradients()[p].clone());
    }
  }
  for (const Parameter& parameter : run.adapters().parameters()) {
    outcome.parameters.emplace_back(parameter, parameter.value.detach());
  }
  return results;
}

// Trains `num_steps` steps, from adapters without a zero anywhere.
inline std::unique_ptr<RunOutcome> train_on_threads(const std::filesystem::path& model,
                                                    const AdapterConfig& adapter,
                                                    const RunShape& shape, int64_t num_steps,
                                                    const RowsOfStep& rows_of) {
  auto outcome = std::make_unique<RunOutcome>();
  std::vector<std::vector<StepResult>> results(static_cast<size_t>(shape.num_ranks));
  run_rank_threads(
      shape.num_ranks,
      [&](Communicator& world) {
        RankOutcome mine;
        results[static_cast<size_t>(world.rank())] =
            train_one_rank({model, adapter, shape, num_steps, rows_of}, world, mine);
        for (const auto& [of, value] : mine.parameters) outcome->parameters.add(of, value);
        for (const auto& [of, value] : mine.first_gradients) {
          outcome->first_gradients.add(of, value);
        }
      },
      shape.threads);
  outcome->steps = results[0];
  for (size_t rank = 1; rank < results.size() && outcome->rank_fault.empty(); ++rank) {
    if (!std::equal(results[0].begin(), results[0].end(), results[rank].begin(),
                    results[rank].end(), is_same_result)) {
      outcome->rank_fault = "rank " + std::to_string(rank) + " is told other results than rank 0";
    }
  }
  return outcome;
}

// The same with rows_per_step random rows a step.
inline std::unique_ptr<RunOutcome> train_on_threads(const std::filesystem::path& model,
                                                    const AdapterConfig& adapter,
                                                    const RunShape& shape, int64_t num_steps,
                                                    int64_t rows_per_step) {
  return train_on_threads(model, adapter, shape, num_steps, [&](int64_t step, int32_t vocab) {
    return random_rows(rows_per_step, 1000 * step, vocab);
  });
}

}  // namespace molora::testing
