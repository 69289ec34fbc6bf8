#include "train/adamw.h"

#include <cmath>
#include <utility>

#include <ATen/core/grad_mode.h>

#include "base/check.h"

namespace molora {

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
  const double correction1 = 1.0 - std::pow(beta1_, t);
  const double correction2 = 1.0 - std::pow(beta2_, t);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    Tensor value = parameters_[i].value.detach();
    const Tensor& gradient = gradients[i];
    if (weight_decay_ != 0.0) value.mul_(1.0 - learning_rate * weight_decay_);
    first_[i].lerp_(gradient, 1.0 - beta1_);
    second_[i].mul_(beta2_).addcmul_(gradient, gradient, 1.0 - beta2_);
    const Tensor denominator = second_[i].sqrt().div_(std::sqrt(correction2)).add_(eps_);
    value.addcdiv_(first_[i], denominator, -learning_rate / correction1);
  }
}

}  // namespace molora
