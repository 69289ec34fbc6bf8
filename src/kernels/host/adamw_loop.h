// One AdamW update of many tensors in one pass: the formulas of bodies/adamw_body.h.
#pragma once

#include "kernels/bodies/adamw_body.h"
#include "kernels/host/loop_code.h"

namespace molora {

// Some neighbours of one tensor.
constexpr int64_t kAdamWPiece = 4096;

// A row is a piece.
template <typename Number>
struct AdamWLoop {
  const AdamWRun<Number>* pieces;  // each of at most kAdamWPiece elements
  AdamWRates<Number> rates;

  MOLORA_LOOP void operator()(int64_t begin, int64_t end) const {
    for (int64_t piece = begin; piece < end; ++piece) {
      const AdamWRun<Number> at = pieces[piece];
      // From the nearer end, as LibTorch has it.
      if (rates.first_weight < Number{0.5}) {
        update(at, [weight = rates.first_weight](Number from, Number to) {
          return from + weight * (to - from);
        });
      } else {
        update(at, [rest = 1 - rates.first_weight](Number from, Number to) {
          return to - (to - from) * rest;
        });
      }
    }
  }

 private:
  template <typename Lerp>
  MOLORA_LOOP void update(const AdamWRun<Number>& at, const Lerp& lerp) const {
    MOLORA_INDEPENDENT
    for (int64_t i = 0; i < at.count; ++i) {
      const Number gradient = at.gradient[i] * rates.gradient_scale;
      const Number first = lerp(at.first[i], gradient);
      const Number second = at.second[i] * rates.beta2 + rates.second_weight * gradient * gradient;
      const Number denominator = square_root(second) / rates.root_of_correction2 + rates.eps;
      at.first[i] = first;
      at.second[i] = second;
      at.value[i] = at.value[i] * rates.decay + rates.minus_step * first / denominator;
    }
  }
};

}  // namespace molora

// Every instance that the program uses.
#define MOLORA_ADAMW_LOOPS(use) use(AdamWLoop<float>) use(AdamWLoop<double>)
