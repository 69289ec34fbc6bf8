#include "model/adapter.h"

#include <algorithm>
#include <cmath>

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "base/mutation.h"
#include "base/philox.h"
#include "tensor/philox_tensor.h"

namespace molora {

namespace {

struct StreamName {
  uint64_t seed;
  std::string tensor;
};

// Fills this rank's slice of a tensor [E, ...]. The numbers of an expert depend on its own name and
// place alone, so that expert 3 of a model with 4 experts begins as expert 3 of a model with 8, and
// every layout cuts its slices from the same whole.
void fill_by_expert(Tensor& slice, const TensorPlace& place, double bound, const StreamName& name) {
  const at::NoGradGuard no_grad;
  const std::vector<int64_t> expert_shape(place.shape.begin() + 1, place.shape.end());
  const Slice& columns = place.columns;
  for (int64_t e = 0; e < place.experts.length; ++e) {
    Tensor expert = at::empty(expert_shape, slice.options());
    fill_uniform(expert, bound,
                 philox_key(name.seed, RandomPurpose::kAdapterInit, name.tensor,
                            static_cast<uint64_t>(place.experts.begin + e)),
                 0);
    slice.select(0, e).copy_(expert_shape.empty() ? expert
                                                  : expert.slice(-1, columns.begin, columns.end()));
  }
}

// The rows of this rank's slice of the experts that are frozen, ascending.
std::vector<int64_t> frozen_rows(const AdapterSpec& spec, const Slice& experts) {
  std::vector<int64_t> rows;
  const int64_t begin = MOLORA_MUTANT(kFrozenRowsUnshifted) ? 0 : experts.begin;
  for (const int64_t expert : spec.frozen_experts) {
    if (expert >= begin && expert < begin + experts.length) rows.push_back(expert - begin);
  }
  return rows;
}

}  // namespace

AdapterSet::AdapterSet(const Architecture& architecture, const AdapterConfig& config, uint64_t seed,
                       at::ScalarType master_type, const AdapterPlacement& placement,
                       at::Device device) {
  for (int64_t layer = 0; layer < architecture.num_layers; ++layer) {
    for (const LinearKind kind : kLinearKinds) {
      const AdapterSpec spec = adapter_spec(config, kind);
      if (spec.kind == TargetsConfig::frozen) {
        index_.push_back(-1);
        continue;
      }
      index_.push_back(static_cast<int>(linears_.size()));
      LinearAdapter linear;
      linear.path = fmt::format("layers.{}.{}", layer, linear_path(kind));
      linear.spec = spec;
      linear.place = place_linear(architecture, kind, spec, placement);
      add(std::move(linear), {at::TensorOptions().dtype(master_type).device(device), seed});
    }
  }
}

void AdapterSet::add(LinearAdapter linear, const Making& making) {
  const AdapterSpec& spec = linear.spec;
  const double bound = 1.0 / std::sqrt(static_cast<double>(linear.place.size.in));
  const auto parameter = [&](const char* suffix, const TensorPlace& place, double limit) {
    // The numbers are made on the CPU: the same on every device.
    Tensor value = at::zeros(place.slice_shape(), making.options.device(at::kCPU));
    if (limit > 0.0) fill_by_expert(value, place, limit, {making.seed, linear.path + suffix});
    value = value.to(making.options.device());
    value.set_requires_grad(true);
    parameters_.push_back({linear.path + suffix, value, place.shape, place.offset(), place.sync});
    return value;
  };
  const auto expert_parameter = [&](const char* suffix, const TensorPlace& place, double limit) {
    Tensor value = parameter(suffix, place, limit);
    parameters_.back().frozen_rows = frozen_rows(spec, place.experts);
    return value;
  };
  linear.lora_A = expert_parameter(".lora_A", place_of_A(linear.place, spec), bound);
  linear.lora_B = expert_parameter(".lora_B", place_of_B(linear.place, spec), 0.0);
  if (spec.has_router()) {
    linear.router_index = num_routers_++;
    linear.router_weight =
        parameter(".router.weight", place_of_router_weight(linear.place, spec), bound);
    linear.router_bias = parameter(".router.bias", place_of_router_bias(spec), bound);
  }
  linears_.push_back(std::move(linear));
}

const LinearAdapter* AdapterSet::find(int64_t layer, LinearKind kind) const {
  const size_t at = static_cast<size_t>(layer) * kLinearKinds.size() + static_cast<size_t>(kind);
  MOLORA_CHECK(at < index_.size(), "layer {}", layer);
  return index_[at] < 0 ? nullptr : &linears_[static_cast<size_t>(index_[at])];
}

AdapterCounts count_adapter_parameters(const Architecture& architecture,
                                       const AdapterConfig& config) {
  AdapterCounts counts;
  for (const LinearKind kind : kLinearKinds) {
    const AdapterSpec spec = adapter_spec(config, kind);
    const LinearSize size = linear_size(architecture, kind);
    const int64_t pairs = spec.num_experts * spec.lora_rank * (size.in + size.out);
    if (spec.kind == TargetsConfig::lora) counts.lora += pairs * architecture.num_layers;
    if (spec.kind == TargetsConfig::experts) counts.experts += pairs * architecture.num_layers;
    counts.frozen_experts +=
        pairs / spec.num_experts * std::ssize(spec.frozen_experts) * architecture.num_layers;
    if (spec.has_router()) {
      counts.routers += spec.num_experts * (size.in + 1) * architecture.num_layers;
    }
  }
  return counts;
}

}  // namespace molora
