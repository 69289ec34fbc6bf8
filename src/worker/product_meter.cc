#include "worker/product_meter.h"

#include <algorithm>

#include <ATen/core/grad_mode.h>

#include "device/compute_device.h"
#include "report/step_times.h"
#include "tensor/philox_tensor.h"

namespace molora {

namespace {

constexpr double kShortest = 5e-3;  // seconds that are timed together
constexpr double kMostRepeats = 200;

Tensor random_matrix(int64_t rows, int64_t columns, const ProductMeter::Options& options) {
  Tensor matrix = at::empty({rows, columns});
  fill_uniform(matrix, 1.0, static_cast<uint64_t>(rows * 31 + columns), 0);
  return matrix.to(options.device, options.type);
}

}  // namespace

ProductMeter::ProductMeter(const std::vector<StepProduct>& products, const Options& options)
    : options_(options) {
  for (const StepProduct& product : products) {
    const bool is_forward = product.kind == ProductKind::kForward;
    candidates_.push_back(
        {product,
         random_matrix(product.rows, is_forward ? product.in : product.out, options),
         random_matrix(product.out, product.in, options),
         {}});
  }
}

// Seconds of one product.
double ProductMeter::time_of(const Candidate& candidate, int64_t repeats) const {
  finish_work(options_.device);
  const int64_t begin = now_ns(options_.clock);
  for (int64_t i = 0; i < repeats; ++i) {
    const Tensor result = candidate.product.kind == ProductKind::kForward
                              ? at::linear(candidate.input, candidate.weight)
                              : at::mm(candidate.input, candidate.weight);
  }
  finish_work(options_.device);
  return static_cast<double>(now_ns(options_.clock) - begin) * 1e-9 / static_cast<double>(repeats);
}

void ProductMeter::measure_round() {
  const at::NoGradGuard no_grad;
  for (Candidate& candidate : candidates_) {
    const double once = std::max(1e-9, time_of(candidate, 1));
    const auto repeats = static_cast<int64_t>(std::clamp(kShortest / once, 1.0, kMostRepeats));
    candidate.seconds.push_back(time_of(candidate, repeats));
  }
}

std::vector<ProductMeter::Measured> ProductMeter::results() const {
  std::vector<Measured> results;
  for (const Candidate& candidate : candidates_) {
    results.push_back({candidate.product, median(candidate.seconds)});
  }
  return results;
}

double weighted_rate(const std::vector<ProductMeter::Measured>& measured) {
  double flops = 0;
  double seconds = 0;
  for (const ProductMeter::Measured& of : measured) {
    flops += of.product.flops();
    seconds += of.seconds * static_cast<double>(of.product.count);
  }
  return flops / seconds;
}

}  // namespace molora
