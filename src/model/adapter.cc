#include "model/adapter.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/check.h"
#include "base/error.h"
#include "base/mutation.h"
#include "base/philox.h"
#include "tensor/philox_tensor.h"

namespace molora {

namespace {

// Of kaiming_uniform with a = sqrt(5), and of the weights of a linear.
double uniform_bound(int64_t inputs) { return 1.0 / std::sqrt(static_cast<double>(inputs)); }

// The rows of this rank's slice of the experts that are frozen, ascending.
std::vector<int64_t> frozen_rows(const AdapterSpec& spec, const Slice& experts) {
  std::vector<int64_t> rows;
  const int64_t begin = MOLORA_MUTANT(kFrozenRowsUnshifted) ? 0 : experts.begin;
  for (const int64_t expert : spec.frozen_experts) {
    if (expert >= begin && expert < begin + experts.length) rows.push_back(expert - begin);
  }
  return rows;
}

std::vector<int64_t> all_rows(int64_t count) {
  std::vector<int64_t> rows(static_cast<size_t>(count));
  std::iota(rows.begin(), rows.end(), int64_t{0});
  return rows;
}

}  // namespace

std::string LinearAdapter::router_path() const {
  return spec.is_block ? path.substr(0, path.rfind('.')) : path;
}

AdapterSet::AdapterSet(const Architecture& architecture, const AdapterConfig& config, uint64_t seed,
                       at::ScalarType master_type, const AdapterPlacement& placement,
                       at::Device device) {
  const Making making = {at::TensorOptions().dtype(master_type).device(device), seed};
  if (config.router().input() == RouterConfig::task) add_task_router(config, making);
  for (int64_t layer = 0; layer < architecture.num_layers; ++layer) {
    for (const LinearKind kind : kLinearKinds) {
      const AdapterSpec spec = adapter_spec(config, kind, layer);
      if (spec.kind == TargetsConfig::frozen) {
        index_.push_back(-1);
        continue;
      }
      index_.push_back(static_cast<int>(linears_.size()));
      LinearAdapter linear;
      linear.path = fmt::format("layers.{}.{}", layer, linear_path(kind));
      linear.spec = spec;
      linear.place = place_linear(architecture, kind, spec, placement);
      add(std::move(linear), making);
    }
  }
}

// Makes this rank's slice of a tensor [E, ...]. The numbers of an expert depend on its own name and
// place alone, so that expert 3 of a model with 4 experts begins as expert 3 of a model with 8, and
// every layout cuts its slices from the same whole.
Tensor AdapterSet::parameter(const std::string& name, const TensorPlace& place,
                             const Making& making,
                             const std::function<Beginning(int64_t row)>& beginning) {
  // The numbers are made on the CPU: the same on every device.
  const auto options = making.options.device(at::kCPU);
  Tensor value = at::zeros(place.slice_shape(), options);
  const std::vector<int64_t> row_shape(place.shape.begin() + 1, place.shape.end());
  const Slice& columns = place.columns;
  for (int64_t row = 0; row < place.experts.length; ++row) {
    const at::NoGradGuard no_grad;
    const Beginning begins = beginning(place.experts.begin + row);
    if (begins.kind == Beginning::Kind::kZero) continue;
    Tensor numbers = at::empty(row_shape, options);
    const uint64_t key = philox_key(making.seed, RandomPurpose::kAdapterInit, name,
                                    static_cast<uint64_t>(place.experts.begin + row));
    if (begins.kind == Beginning::Kind::kNormal) {
      fill_normal(numbers, begins.size, key, 0);
    } else {
      fill_uniform(numbers, begins.size, key, 0);
    }
    value.select(0, row).copy_(row_shape.empty() ? numbers
                                                 : numbers.slice(-1, columns.begin, columns.end()));
  }
  value = value.to(making.options.device());
  value.set_requires_grad(true);
  parameters_.push_back({name, value, place.shape, place.offset(), place.sync});
  return value;
}

void AdapterSet::add(LinearAdapter linear, const Making& making) {
  const AdapterSpec& spec = linear.spec;
  MOLORA_CHECK(!spec.has_shared_A || spec.frozen_experts.empty(),
               "{}: frozen experts with one A for all", linear.path);
  const Beginning uniform = {Beginning::Kind::kUniform,
                             uniform_bound(linear.place.size.in / spec.heads)};
  const auto zero = [](int64_t) { return Beginning{}; };
  linear.lora_A = parameter(linear.path + ".lora_A", place_of_A(linear.place, spec), making,
                            [&](int64_t) { return uniform; });
  parameters_.back().frozen_rows = frozen_rows(spec, place_of_A(linear.place, spec).experts);
  linear.lora_B = parameter(linear.path + ".lora_B", place_of_B(linear.place, spec), making, zero);
  parameters_.back().frozen_rows = frozen_rows(spec, place_of_B(linear.place, spec).experts);
  parameters_.back().is_lora_B = true;
  if (spec.is_dora) {
    linear.magnitude =
        parameter(linear.path + ".magnitude", place_of_magnitude(linear.place), making, zero);
  }
  if (spec.has_router()) add_router(linear, making);
  linears_.push_back(std::move(linear));
}

void AdapterSet::add_router(LinearAdapter& linear, const Making& making) {
  const AdapterSpec& spec = linear.spec;
  const std::string path = linear.router_path() + ".router";
  linear.router_index = num_routers_++;
  linear.task_embedding = task_embedding_;
  linear.task_weight = task_weight_;
  if (!spec.routes_by_task) {
    const TensorPlace weight_place = place_of_router_weight(linear.place, spec);
    const Beginning uniform = {Beginning::Kind::kUniform, uniform_bound(weight_place.shape.back())};
    const Beginning of_weight = spec.router_init_std > 0.0
                                    ? Beginning{Beginning::Kind::kNormal, spec.router_init_std}
                                    : uniform;
    const Beginning of_bias = spec.has_router_bias ? uniform : Beginning{};
    // The threshold is a linear of its own, with a bias.
    const auto is_threshold = [&](int64_t row) { return row >= spec.num_routed(); };
    linear.router_weight = parameter(path + ".weight", weight_place, making, [&](int64_t row) {
      return is_threshold(row) ? uniform : of_weight;
    });
    linear.router_bias =
        parameter(path + ".bias", place_of_router_bias(spec), making,
                  [&](int64_t row) { return is_threshold(row) ? uniform : of_bias; });
    // Without a bias there is one that is never anything but zero: one form for all that reads it.
    if (!spec.has_router_bias) parameters_.back().frozen_rows = all_rows(spec.num_routed());
  }
  if (spec.has_choice_bias) {
    linear.choice_bias = parameter(path + ".choice_bias", place_of_choice_bias(spec), making,
                                   [](int64_t) { return Beginning{}; });
    parameters_.back().frozen_rows = all_rows(spec.num_routed());
  }
}

// As torch.nn.Embedding and torch.nn.Linear without bias begin.
void AdapterSet::add_task_router(const AdapterConfig& config, const Making& making) {
  const int64_t width = config.router().task_embedding();
  tasks_.assign(config.router().tasks().begin(), config.router().tasks().end());
  const auto whole = [&](int64_t rows) {
    return TensorPlace{{rows, width},
                       {0, rows},
                       {0, width},
                       MOLORA_MUTANT(kTaskRouterOfOneRank) ? SyncGroup::kData : SyncGroup::kAll};
  };
  task_embedding_ =
      parameter("task_router.embedding", whole(config.router().tasks_size()), making, [](int64_t) {
        return Beginning{Beginning::Kind::kNormal, 1.0};
      });
  task_weight_ = parameter("task_router.weight", whole(config.num_experts()), making, [&](int64_t) {
    return Beginning{Beginning::Kind::kUniform, uniform_bound(width)};
  });
}

int64_t AdapterSet::task_number(const std::string& task) const {
  if (tasks_.empty()) return kNoTask;
  const auto found = std::find(tasks_.begin(), tasks_.end(), task);
  if (found != tasks_.end()) return found - tasks_.begin();
  throw ConfigError(fmt::format(
      "the adapter routes by task (adapter.router.input: task), and {}; it knows {} "
      "(adapter.router.tasks)",
      task.empty() ? "no task is named" : fmt::format("task '{}' is not among its own", task),
      fmt::join(tasks_, ", ")));
}

const LinearAdapter* AdapterSet::find(int64_t layer, LinearKind kind) const {
  const size_t at = static_cast<size_t>(layer) * kLinearKinds.size() + static_cast<size_t>(kind);
  MOLORA_CHECK(at < index_.size(), "layer {}", layer);
  return index_[at] < 0 ? nullptr : &linears_[static_cast<size_t>(index_[at])];
}

AdapterCounts count_adapter_parameters(const Architecture& architecture,
                                       const AdapterConfig& config) {
  AdapterCounts counts;
  for (int64_t layer = 0; layer < architecture.num_layers; ++layer) {
    for (const LinearKind kind : kLinearKinds) {
      const AdapterSpec spec = adapter_spec(config, kind, layer);
      if (spec.kind == TargetsConfig::frozen) continue;
      const LinearSize size = linear_size(architecture, kind);
      const int64_t of_A = spec.lora_rank * (size.in / spec.heads);
      const int64_t of_B = spec.lora_rank * (size.out / spec.heads);
      const int64_t all =
          (spec.has_shared_A ? 1 : spec.num_experts) * of_A + spec.num_experts * of_B;
      (spec.kind == TargetsConfig::lora ? counts.lora : counts.experts) += all;
      if (spec.is_dora) counts.lora += size.out;
      counts.frozen_experts += std::ssize(spec.frozen_experts) * (of_A + of_B);
      if (!spec.has_router() || spec.routes_by_task) continue;
      counts.routers +=
          spec.router_rows() * router_inputs(kind, size, spec) +
          (spec.has_router_bias ? spec.router_rows() : spec.router_rows() - spec.num_routed());
    }
  }
  if (config.router().input() == RouterConfig::task) {
    counts.routers += int64_t{config.router().task_embedding()} *
                      (config.router().tasks_size() + int64_t{config.num_experts()});
  }
  return counts;
}

}  // namespace molora
