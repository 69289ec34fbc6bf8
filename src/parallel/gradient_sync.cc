#include "parallel/gradient_sync.h"

#include <algorithm>
#include <span>

#include <ATen/core/grad_mode.h>

#include "base/check.h"
#include "base/mutation.h"
#include "comm/fixed_order_sum.h"
#include "device/compute_device.h"
#include "parallel/tensor_collectives.h"
#include "tensor/tensor_bytes.h"

namespace molora {

namespace {

// Only by mutation.
bool is_sum_skipped(SyncGroup group) {
  return (group == SyncGroup::kAll && MOLORA_MUTANT(kSumAllSkipped)) ||
         (group == SyncGroup::kData && MOLORA_MUTANT(kSumDataSkipped)) ||
         (group == SyncGroup::kExpertData && MOLORA_MUTANT(kSumExpertDataSkipped)) ||
         (group == SyncGroup::kKvReplicas && MOLORA_MUTANT(kSumKvSkipped));
}

// parts: [members * own], one summand after the other. Returns [own].
Tensor sum_in_order(const Tensor& parts, int64_t own, int members) {
  Tensor sum = parts.slice(0, 0, own).clone();
  for (int64_t member = 1; member < members; ++member) {
    sum += parts.slice(0, member * own, (member + 1) * own);
  }
  return sum;
}

}  // namespace

GradientSync::GradientSync(const Mesh& mesh, const std::vector<Parameter>& parameters,
                           OptimizerPlacement placement)
    : mesh_(mesh), parameters_(parameters), placement_(placement), owned_(parameters.size()) {
  for (const SyncGroup group : kSyncGroups) {
    Bucket bucket = make_bucket(group);
    const auto self = static_cast<size_t>(members(bucket).rank());
    for (const size_t index : bucket.by_owner[self]) owned_[index] = true;
    const bool is_empty = std::all_of(bucket.elements.begin(), bucket.elements.end(),
                                      [](int64_t count) { return count == 0; });
    if (!is_empty) buckets_.push_back(std::move(bucket));
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (owned_[i] || placement == OptimizerPlacement::kReplicated) updated_.push_back(i);
  }
}

// Each parameter goes to the member with the least so far, so that the shares differ by at most one
// parameter. The same on every rank: sizes and order are.
GradientSync::Bucket GradientSync::make_bucket(SyncGroup group) const {
  Bucket bucket{group, {}, {}};
  const auto size = static_cast<size_t>(mesh_.axis(sync_axis(group)).size());
  bucket.by_owner.resize(size);
  bucket.elements.resize(size);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (parameters_[i].sync != group) continue;
    const auto least = std::min_element(bucket.elements.begin(), bucket.elements.end());
    bucket.by_owner[static_cast<size_t>(least - bucket.elements.begin())].push_back(i);
    *least += parameters_[i].value.numel();
  }
  return bucket;
}

std::vector<Parameter> GradientSync::updated_parameters() const {
  std::vector<Parameter> list;
  for (const size_t index : updated_) list.push_back(parameters_[index]);
  return list;
}

Tensor GradientSync::flatten(const std::vector<size_t>& indices,
                             const std::vector<Tensor>& tensors) const {
  std::vector<Tensor> parts;
  parts.reserve(indices.size());
  for (const size_t index : indices) parts.push_back(tensors[index].flatten());
  if (parts.empty())
    return at::empty({0}, parameters_.front().value.options().requires_grad(false));
  return at::cat(parts);
}

std::vector<Tensor> GradientSync::sum(const std::vector<Tensor>& gradients) const {
  MOLORA_CHECK_EQ(gradients.size(), parameters_.size());
  const at::NoGradGuard no_grad;
  std::vector<Tensor> sums(parameters_.size());
  for (const Bucket& bucket : buckets_) {
    Communicator& group = members(bucket);
    const auto self = static_cast<size_t>(group.rank());
    if (group.size() == 1) {
      for (const size_t index : bucket.by_owner[self]) sums[index] = gradients[index];
      continue;
    }
    std::vector<Tensor> by_owner;
    for (const auto& indices : bucket.by_owner) by_owner.push_back(flatten(indices, gradients));
    const std::vector<int64_t> from_each(bucket.elements.size(), bucket.elements[self]);
    const Tensor parts = all_to_all_rows(group, at::cat(by_owner), bucket.elements, from_each);
    Tensor flat = is_sum_skipped(bucket.group)
                      ? by_owner[self]
                      : sum_in_order(parts, bucket.elements[self], group.size());
    if (MOLORA_MUTANT(kDivideByEdp) && bucket.group == SyncGroup::kExpertData) {
      flat = flat / static_cast<double>(group.size());
    }
    std::vector<size_t> present = bucket.by_owner[self];
    if (placement_ == OptimizerPlacement::kReplicated) {
      if (MOLORA_MUTANT(kSumsNotShared)) {
        by_owner[self] = flat;
        flat = at::cat(by_owner);
      } else {
        flat = all_gather_rows(group, flat, bucket.elements);
      }
      present.clear();
      for (const auto& indices : bucket.by_owner) {
        present.insert(present.end(), indices.begin(), indices.end());
      }
    }
    int64_t begin = 0;
    for (const size_t index : present) {
      const Tensor& value = parameters_[index].value;
      sums[index] = flat.slice(0, begin, begin + value.numel()).view(value.sizes()).clone();
      begin += value.numel();
    }
  }
  std::vector<Tensor> result;
  for (const size_t index : updated_) result.push_back(sums[index]);
  return result;
}

std::vector<double> GradientSync::square_norms(const std::vector<Tensor>& sums) const {
  MOLORA_CHECK_EQ(sums.size(), updated_.size());
  const at::NoGradGuard no_grad;
  std::vector<double> squares(parameters_.size(), 0.0);
  std::vector<size_t> owned;
  std::vector<Tensor> own_squares;
  for (size_t i = 0; i < sums.size(); ++i) {
    if (!is_owned(updated_[i])) continue;
    owned.push_back(updated_[i]);
    own_squares.push_back(sums[i].to(at::kDouble).square().sum());
  }
  if (!owned.empty()) {
    // The host waits for the device here, once a step: it decides what becomes of the step.
    const Tensor on_host = to_host(at::stack(own_squares));
    const std::span<const double> values = elements<double>(on_host);
    for (size_t i = 0; i < owned.size(); ++i) squares[owned[i]] = values[i];
  }
  if (!MOLORA_MUTANT(kNormOfThisRank)) {
    fixed_order_sum(mesh_.host(Axis::kAll), std::span(squares));
  }
  return squares;
}

void GradientSync::share_updates() const {
  if (placement_ == OptimizerPlacement::kReplicated) return;
  const at::NoGradGuard no_grad;
  std::vector<Tensor> values;
  values.reserve(parameters_.size());
  for (const Parameter& parameter : parameters_) values.push_back(parameter.value.detach());
  for (const Bucket& bucket : buckets_) {
    Communicator& group = members(bucket);
    if (group.size() == 1) continue;
    const auto self = static_cast<size_t>(group.rank());
    const Tensor flat =
        all_gather_rows(group, flatten(bucket.by_owner[self], values), bucket.elements);
    if (MOLORA_MUTANT(kUpdatesNotShared)) continue;
    int64_t begin = 0;
    for (const auto& indices : bucket.by_owner) {
      for (const size_t index : indices) {
        Tensor& value = values[index];
        value.copy_(flat.slice(0, begin, begin + value.numel()).view(value.sizes()));
        begin += value.numel();
      }
    }
  }
}

}  // namespace molora
