#include "train/adamw.h"

#include <utility>

#include <ATen/core/grad_mode.h>

#include "base/check.h"
#include "device/compute_device.h"

namespace molora {

namespace {

// Where a GPU copies to and from beside its work.
Tensor empty_on_host(const Tensor& like) {
  return at::empty(like.sizes(), at::TensorOptions().dtype(like.dtype()).pinned_memory(true));
}

// Where the moments of `value` lie: with it, or on the host.
Tensor zero_moment(const Tensor& value, bool is_on_host) {
  return is_on_host ? empty_on_host(value).zero_() : at::zeros_like(value);
}

// The moments stay where they are, so the update is computed on the host: gradients and values come
// there, all of them before the host waits once, and the values go back.
void update_on_host(std::vector<AdamWTensor>& tensors, const AdamWSettings& settings) {
  if (tensors.empty()) return;
  std::vector<Tensor> values;
  for (AdamWTensor& tensor : tensors) {
    values.push_back(tensor.value);
    for (Tensor* of : {&tensor.value, &tensor.gradient}) {
      const Tensor copy = empty_on_host(*of);
      copy.copy_(*of, /*non_blocking=*/true);
      *of = copy;
    }
  }
  finish_work(values.front().device());
  adamw_step(tensors, settings);
  for (size_t i = 0; i < tensors.size(); ++i) {
    values[i].copy_(tensors[i].value, /*non_blocking=*/true);
  }
}

}  // namespace

AdamW::AdamW(std::vector<Parameter> parameters, const TrainConfig& config)
    : parameters_(std::move(parameters)),
      beta1_(config.adam_beta1()),
      beta2_(config.adam_beta2()),
      eps_(config.adam_eps()),
      weight_decay_(config.weight_decay()),
      lora_plus_ratio_(config.lora_plus_ratio()),
      is_offloaded_(config.offload_optimizer() && !parameters_.empty() &&
                    !parameters_.front().value.is_cpu()) {
  for (const Parameter& parameter : parameters_) {
    first_.push_back(zero_moment(parameter.value.detach(), is_offloaded_));
    second_.push_back(zero_moment(parameter.value.detach(), is_offloaded_));
  }
}

void AdamW::update(const std::vector<Tensor>& gradients, double learning_rate,
                   double gradient_scale) {
  MOLORA_CHECK_EQ(gradients.size(), parameters_.size());
  const at::NoGradGuard no_grad;
  ++num_updates_;
  std::vector<AdamWTensor> tensors;
  std::vector<AdamWTensor> faster;  // those with a learning rate of their own
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& parameter = parameters_[i];
    const bool is_faster = parameter.is_lora_B && lora_plus_ratio_ != 1.0;
    (is_faster ? faster : tensors)
        .push_back({parameter.value.detach(), first_[i], second_[i], gradients[i].contiguous(),
                    parameter.frozen_rows});
  }
  AdamWSettings settings = {.learning_rate = learning_rate,
                            .beta1 = beta1_,
                            .beta2 = beta2_,
                            .eps = eps_,
                            .weight_decay = weight_decay_,
                            .num_updates = num_updates_,
                            .gradient_scale = gradient_scale};
  step(tensors, settings);
  if (faster.empty()) return;
  settings.learning_rate = learning_rate * lora_plus_ratio_;
  step(faster, settings);
}

void AdamW::step(std::vector<AdamWTensor>& tensors, const AdamWSettings& settings) const {
  if (is_offloaded_) {
    update_on_host(tensors, settings);
  } else {
    adamw_step(tensors, settings);
  }
}

}  // namespace molora
