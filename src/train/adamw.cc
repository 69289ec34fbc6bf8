#include "train/adamw.h"

#include <cmath>
#include <utility>

#include <ATen/core/grad_mode.h>

#include "base/check.h"

namespace molora {

namespace {

// The rows between the frozen ones.
std::vector<Slice> trained_runs(const Parameter& parameter) {
  std::vector<Slice> runs;
  int64_t begin = 0;
  const auto end_before = [&](int64_t row) {
    if (row > begin) runs.push_back({begin, row - begin});
    begin = row + 1;
  };
  for (const int64_t row : parameter.frozen_rows) end_before(row);
  end_before(parameter.value.size(0));
  return runs;
}

}  // namespace

AdamW::AdamW(std::vector<Parameter> parameters, const TrainConfig& config)
    : parameters_(std::move(parameters)),
      beta1_(config.adam_beta1()),
      beta2_(config.adam_beta2()),
      eps_(config.adam_eps()),
      weight_decay_(config.weight_decay()) {
  for (const Parameter& parameter : parameters_) {
    first_.push_back(at::zeros_like(parameter.value.detach()));
    second_.push_back(at::zeros_like(parameter.value.detach()));
  }
}

void AdamW::update(const std::vector<Tensor>& gradients, double learning_rate) {
  MOLORA_CHECK_EQ(gradients.size(), parameters_.size());
  const at::NoGradGuard no_grad;
  ++num_updates_;
  const auto t = static_cast<double>(num_updates_);
  const Rates rates = {learning_rate, 1.0 - std::pow(beta1_, t), 1.0 - std::pow(beta2_, t)};
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& parameter = parameters_[i];
    const Rows whole = {parameter.value.detach(), first_[i], second_[i], gradients[i]};
    if (parameter.frozen_rows.empty()) {
      update_rows(whole, rates);
      continue;
    }
    for (const Slice& run : trained_runs(parameter)) {
      const auto rows = [&run](const Tensor& of) { return of.slice(0, run.begin, run.end()); };
      update_rows({rows(whole.value), rows(whole.first), rows(whole.second), rows(whole.gradient)},
                  rates);
    }
  }
}

void AdamW::update_rows(const Rows& rows, const Rates& rates) const {
  if (weight_decay_ != 0.0) rows.value.mul_(1.0 - rates.learning_rate * weight_decay_);
  rows.first.lerp_(rows.gradient, 1.0 - beta1_);
  rows.second.mul_(beta2_).addcmul_(rows.gradient, rows.gradient, 1.0 - beta2_);
  const Tensor denominator = rows.second.sqrt().div_(std::sqrt(rates.correction2)).add_(eps_);
  rows.value.addcdiv_(rows.first, denominator, -rates.learning_rate / rates.correction1);
}

}  // namespace molora
