#include "model/adapter.h"

#include <algorithm>
#include <cmath>
#include <numeric>

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

// How a tensor begins: uniform in +-size, normal with the deviation `size`, or zero.
struct Beginning {
  enum class Kind { kZero, kUniform, kNormal };
  Kind kind = Kind::kZero;
  double size = 0.0;
};
constexpr Beginning kZeros = {};

void fill(Tensor& tensor, const Beginning& beginning, uint64_t key) {
  if (beginning.kind == Beginning::Kind::kNormal) {
    fill_normal(tensor, beginning.size, key, 0);
  } else {
    fill_uniform(tensor, beginning.size, key, 0);
  }
}

// Fills this rank's slice of a tensor [E, ...]. The numbers of an expert depend on its own name and
// place alone, so that expert 3 of a model with 4 experts begins as expert 3 of a model with 8, and
// every layout cuts its slices from the same whole.
void fill_by_expert(Tensor& slice, const TensorPlace& place, const Beginning& beginning,
                    const StreamName& name) {
  const at::NoGradGuard no_grad;
  const std::vector<int64_t> expert_shape(place.shape.begin() + 1, place.shape.end());
  const Slice& columns = place.columns;
  for (int64_t e = 0; e < place.experts.length; ++e) {
    Tensor expert = at::empty(expert_shape, slice.options());
    fill(expert, beginning,
         philox_key(name.seed, RandomPurpose::kAdapterInit, name.tensor,
                    static_cast<uint64_t>(place.experts.begin + e)));
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

std::vector<int64_t> all_rows(int64_t count) {
  std::vector<int64_t> rows(static_cast<size_t>(count));
  std::iota(rows.begin(), rows.end(), int64_t{0});
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
  const Beginning uniform = {Beginning::Kind::kUniform,
                             1.0 / std::sqrt(static_cast<double>(linear.place.size.in))};
  const auto parameter = [&](const char* suffix, const TensorPlace& place,
                             const Beginning& beginning) {
    // The numbers are made on the CPU: the same on every device.
    Tensor value = at::zeros(place.slice_shape(), making.options.device(at::kCPU));
    if (beginning.kind != Beginning::Kind::kZero) {
      fill_by_expert(value, place, beginning, {making.seed, linear.path + suffix});
    }
    value = value.to(making.options.device());
    value.set_requires_grad(true);
    parameters_.push_back({linear.path + suffix, value, place.shape, place.offset(), place.sync});
    return value;
  };
  const auto expert_parameter = [&](const char* suffix, const TensorPlace& place,
                                    const Beginning& beginning) {
    Tensor value = parameter(suffix, place, beginning);
    parameters_.back().frozen_rows = frozen_rows(spec, place.experts);
    return value;
  };
  linear.lora_A = expert_parameter(".lora_A", place_of_A(linear.place, spec), uniform);
  linear.lora_B = expert_parameter(".lora_B", place_of_B(linear.place, spec), kZeros);
  parameters_.back().is_lora_B = true;
  if (spec.has_router()) {
    linear.router_index = num_routers_++;
    const Beginning of_weight = spec.router_init_std > 0.0
                                    ? Beginning{Beginning::Kind::kNormal, spec.router_init_std}
                                    : uniform;
    linear.router_weight =
        parameter(".router.weight", place_of_router_weight(linear.place, spec), of_weight);
    linear.router_bias = parameter(".router.bias", place_of_router_bias(spec),
                                   spec.has_router_bias ? uniform : kZeros);
    // Without a bias there is one that is never anything but zero: one form for all that reads it.
    if (!spec.has_router_bias) parameters_.back().frozen_rows = all_rows(spec.num_experts);
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
      counts.routers +=
          spec.num_experts * (size.in + (spec.has_router_bias ? 1 : 0)) * architecture.num_layers;
    }
  }
  return counts;
}

}  // namespace molora
