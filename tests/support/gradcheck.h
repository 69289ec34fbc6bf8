// Gradients against central differences, in fp64.
#pragma once

#include <functional>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace molora::testing {

// Every element of d f / d input, for each input that requires grad, within `tolerance` of
// (f(x + h) - f(x - h)) / 2h. f gives a scalar; inputs are fp64 leaves.
inline void expect_gradients(const std::function<at::Tensor(const std::vector<at::Tensor>&)>& f,
                             std::vector<at::Tensor> inputs, double tolerance = 1e-7) {
  constexpr double kStep = 1e-5;
  for (at::Tensor& input : inputs) input.mutable_grad().reset();
  f(inputs).backward();
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].requires_grad()) continue;
    const at::Tensor gradient =
        inputs[i].grad().defined() ? inputs[i].grad().contiguous() : at::zeros_like(inputs[i]);
    auto* x = inputs[i].data_ptr<double>();
    for (int64_t e = 0; e < inputs[i].numel(); ++e) {
      const double kept = x[e];
      x[e] = kept + kStep;
      const double above = f(inputs).item<double>();
      x[e] = kept - kStep;
      const double below = f(inputs).item<double>();
      x[e] = kept;
      ASSERT_NEAR(gradient.data_ptr<double>()[e], (above - below) / (2 * kStep), tolerance)
          << "input " << i << " element " << e;
    }
  }
}

}  // namespace molora::testing
