#include "train/adamw.h"

#include <utility>

#include <ATen/core/grad_mode.h>

#include "base/check.h"
#include "kernels/adamw_step.h"

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

void AdamW::update(const std::vector<Tensor>& gradients, double learning_rate,
                   double gradient_scale) {
  MOLORA_CHECK_EQ(gradients.size(), parameters_.size());
  const at::NoGradGuard no_grad;
  ++num_updates_;
  std::vector<AdamWTensor> tensors;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& parameter = parameters_[i];
    tensors.push_back({parameter.value.detach(), first_[i], second_[i], gradients[i].contiguous(),
                       parameter.frozen_rows});
  }
  adamw_step(tensors, {.learning_rate = learning_rate,
                       .beta1 = beta1_,
                       .beta2 = beta2_,
                       .eps = eps_,
                       .weight_decay = weight_decay_,
                       .num_updates = num_updates_,
                       .gradient_scale = gradient_scale});
}

}  // namespace molora
