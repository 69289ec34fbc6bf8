// How fast this process multiplies matrices of given shapes, with the threads and the library that
// its training steps use.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "plan/step_products.h"
#include "profile/work_recorder.h"

namespace molora {

using at::Tensor;

// Measures in rounds, so that they can be taken between the steps that they are compared with: both
// then see the same machine. Factors are reused, as hot in the caches as they will get: a rate
// that a step with its many weights can at best come near.
class ProductMeter {
 public:
  struct Options {
    at::ScalarType type = at::kFloat;
    at::Device device = at::kCPU;
    WorkClock clock = WorkClock::kWall;
  };
  ProductMeter(const std::vector<StepProduct>& products, const Options& options);

  // Every product once more; small ones several times.
  void measure_round();

  struct Measured {
    StepProduct product;
    double seconds = 0;  // of one product: the median of the rounds
    double rate() const { return product.flops() / static_cast<double>(product.count) / seconds; }
  };
  // REQUIRES: at least one round was measured.
  std::vector<Measured> results() const;

 private:
  struct Candidate {
    StepProduct product;
    Tensor input;   // x [rows, in], or d_out [rows, out]
    Tensor weight;  // [out, in]
    std::vector<double> seconds;
  };
  double time_of(const Candidate& candidate, int64_t repeats) const;

  Options options_;
  std::vector<Candidate> candidates_;
};

// Floating-point operations a second of all products together, each as often as the step has it.
double weighted_rate(const std::vector<ProductMeter::Measured>& measured);

}  // namespace molora
