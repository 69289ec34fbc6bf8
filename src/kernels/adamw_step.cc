#include "kernels/adamw_step.h"

#include <algorithm>
#include <cmath>

#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>

#include "base/check.h"
#include "kernels/bodies/adamw_body.h"
#include "kernels/host/run_loop.h"
#include "kernels/kernel_choice.h"
#include "kernels/start_kernel.h"

namespace molora {

namespace {

struct RowRange {
  int64_t begin;
  int64_t end;
};

// The rows between the frozen ones.
std::vector<RowRange> trained_runs(const AdamWTensor& tensor) {
  std::vector<RowRange> runs;
  int64_t begin = 0;
  const auto end_before = [&](int64_t row) {
    if (row > begin) runs.push_back({begin, row});
    begin = row + 1;
  };
  for (const int64_t row : tensor.frozen_rows) end_before(row);
  end_before(tensor.value.size(0));
  return runs;
}

double correction(double beta, const AdamWSettings& settings) {
  return 1.0 - std::pow(beta, static_cast<double>(settings.num_updates));
}

void update_by_operators(const AdamWTensor& rows, const AdamWSettings& settings) {
  const Tensor gradient =
      settings.gradient_scale == 1.0 ? rows.gradient : rows.gradient * settings.gradient_scale;
  Tensor value = rows.value;
  Tensor first = rows.first;
  Tensor second = rows.second;
  if (settings.weight_decay != 0.0) {
    value.mul_(1.0 - settings.learning_rate * settings.weight_decay);
  }
  first.lerp_(gradient, 1.0 - settings.beta1);
  second.mul_(settings.beta2).addcmul_(gradient, gradient, 1.0 - settings.beta2);
  const double root = std::sqrt(correction(settings.beta2, settings));
  const Tensor denominator = second.sqrt().div_(root).add_(settings.eps);
  value.addcdiv_(first, denominator,
                 -settings.learning_rate / correction(settings.beta1, settings));
}

void update_trained_rows(const AdamWTensor& tensor, const AdamWSettings& settings) {
  if (tensor.frozen_rows.empty()) {
    update_by_operators(tensor, settings);
    return;
  }
  for (const RowRange& run : trained_runs(tensor)) {
    const auto rows = [&run](const Tensor& of) { return of.slice(0, run.begin, run.end); };
    update_by_operators(
        {rows(tensor.value), rows(tensor.first), rows(tensor.second), rows(tensor.gradient)},
        settings);
  }
}

template <typename Number>
AdamWRates<Number> rates_of(const AdamWSettings& settings) {
  const double beta1 = settings.beta1;
  const double beta2 = settings.beta2;
  return {static_cast<Number>(1.0 - settings.learning_rate * settings.weight_decay),
          static_cast<Number>(1.0 - beta1),
          static_cast<Number>(beta2),
          static_cast<Number>(1.0 - beta2),
          static_cast<Number>(std::sqrt(correction(beta2, settings))),
          static_cast<Number>(settings.eps),
          static_cast<Number>(-settings.learning_rate / correction(beta1, settings)),
          static_cast<Number>(settings.gradient_scale)};
}

// All that is trained of a tensor, run by run.
template <typename Number, typename Take>
void for_trained_runs(const AdamWTensor& tensor, const Take& take) {
  const int64_t rows = tensor.value.size(0);
  const int64_t width = rows == 0 ? 0 : tensor.value.numel() / rows;
  for (const RowRange& run : trained_runs(tensor)) {
    const int64_t count = (run.end - run.begin) * width;
    if (count == 0) continue;
    const auto at = [&](const Tensor& of) { return kernel_data<Number>(of) + run.begin * width; };
    take(AdamWRun<Number>{at(tensor.value), at(tensor.first), at(tensor.second),
                          at(tensor.gradient), count});
  }
}

// Collects runs and starts a kernel whenever its table is full.
template <typename Number>
class RunTable {
 public:
  RunTable(const AdamWSettings& settings, at::Device device) : device_(device) {
    body_.rates = rates_of<Number>(settings);
  }
  void add(const AdamWTensor& tensor) {
    for_trained_runs<Number>(tensor, [this](const AdamWRun<Number>& run) {
      if (!body_.has_room(run.count)) start();
      body_.add(run);
    });
  }
  void start() {
    start_kernel(body_, device_);
    body_.num_runs = 0;
  }

 private:
  UpdateRuns<Number> body_ = {};
  at::Device device_;
};

template <typename Number>
void update_by_kernels(std::span<const AdamWTensor> tensors, const AdamWSettings& settings,
                       at::ScalarType type) {
  const at::Device device = tensors.front().value.device();
  RunTable<Number> table(settings, device);
  for (const AdamWTensor& tensor : tensors) {
    MOLORA_CHECK(tensor.value.device() == device, "{} and {}", tensor.value.device().str(),
                 device.str());
    if (tensor.value.scalar_type() == type) table.add(tensor);
  }
  table.start();
}

template <typename Number>
void update_by_host(std::span<const AdamWTensor> tensors, const AdamWSettings& settings,
                    at::ScalarType type) {
  std::vector<AdamWRun<Number>> pieces;
  for (const AdamWTensor& tensor : tensors) {
    if (tensor.value.scalar_type() != type) continue;
    for_trained_runs<Number>(tensor, [&pieces](const AdamWRun<Number>& run) {
      for (int64_t at = 0; at < run.count; at += kAdamWPiece) {
        pieces.push_back({run.value + at, run.first + at, run.second + at, run.gradient + at,
                          std::min(kAdamWPiece, run.count - at)});
      }
    });
  }
  run_loop(AdamWLoop<Number>{pieces.data(), rates_of<Number>(settings)},
           static_cast<int64_t>(pieces.size()), kAdamWPiece);
}

void check_shapes(const AdamWTensor& tensor) {
  MOLORA_CHECK(tensor.value.dim() > 0);
  for (const Tensor* other : {&tensor.first, &tensor.second, &tensor.gradient}) {
    MOLORA_CHECK(other->sizes() == tensor.value.sizes() &&
                     other->scalar_type() == tensor.value.scalar_type(),
                 "a state or gradient of {} elements for {}", other->numel(), tensor.value.numel());
  }
}

}  // namespace

void adamw_step(std::span<const AdamWTensor> tensors, const AdamWSettings& settings) {
  const at::NoGradGuard no_grad;
  MOLORA_CHECK(settings.num_updates > 0);
  for (const AdamWTensor& tensor : tensors) check_shapes(tensor);
  if (tensors.empty()) return;
  if (fused_kernels_wanted(tensors.front().value)) {
    update_by_kernels<float>(tensors, settings, at::kFloat);
    update_by_kernels<double>(tensors, settings, at::kDouble);
    return;
  }
  if (host_kernels_wanted(tensors.front().value)) {
    RECORD_FUNCTION("molora::adamw", c10::ArrayRef<const c10::IValue>{});
    update_by_host<float>(tensors, settings, at::kFloat);
    update_by_host<double>(tensors, settings, at::kDouble);
    return;
  }
  for (const AdamWTensor& tensor : tensors) update_trained_rows(tensor, settings);
}

}  // namespace molora
