// Results of an operation of src/kernels by the loops of the CPU and by LibTorch's operators.
#pragma once

#include <functional>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "kernels/kernel_choice.h"
#include "tensor/philox_tensor.h"

namespace molora::testing {

using Results = std::vector<Tensor>;

constexpr at::ScalarType kNumberTypes[] = {at::kFloat, at::kBFloat16, at::kDouble};
constexpr at::ScalarType kWideTypes[] = {at::kFloat, at::kDouble};

inline at::ScalarType wide_type_of(at::ScalarType type) {
  return type == at::kDouble ? at::kDouble : at::kFloat;
}

// Numbers in [-2, 2) of a type, the same for the same seed.
inline Tensor numbers_of(at::IntArrayRef sizes, at::ScalarType type, uint64_t seed) {
  Tensor numbers = at::empty(sizes, at::kDouble);
  fill_uniform(numbers, 2.0, seed, 0);
  return numbers.to(type);
}

inline Results by_host(const std::function<Results()>& work) {
  struct Choice {
    Choice() { choose_kernels(KernelChoice::kHost); }
    ~Choice() { choose_kernels(KernelChoice::kAten); }
  };
  const Choice choice;
  return work();
}

// To the rounding of a few operations in the type of the results; what is not a number is in the
// same places.
inline void expect_close(const Results& actual, const Results& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_EQ(actual[i].sizes(), expected[i].sizes());
    ASSERT_EQ(actual[i].scalar_type(), expected[i].scalar_type());
    const at::ScalarType type = actual[i].scalar_type();
    const double tolerance = type == at::kBFloat16 ? 2e-2 : type == at::kFloat ? 5e-6 : 2e-14;
    EXPECT_TRUE(at::allclose(actual[i], expected[i], tolerance, tolerance, /*equal_nan=*/true))
        << "result " << i << " of " << type << ' ' << actual[i].sizes() << ": "
        << (actual[i] - expected[i]).abs().max();
  }
}

inline void expect_same(const Results& actual, const Results& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) EXPECT_TRUE(actual[i].equal(expected[i])) << i;
}

// The value of f(inputs) and its gradients with respect to the inputs, for a fixed gradient of it.
inline Results value_and_gradients(const Results& inputs,
                                   const std::function<Tensor(const Results&)>& f) {
  Results leaves;
  for (const Tensor& input : inputs) leaves.push_back(input.detach().clone().requires_grad_());
  const Tensor value = f(leaves);
  value.backward(numbers_of(value.sizes(), value.scalar_type(), 99));
  Results results = {value.detach()};
  for (const Tensor& leaf : leaves) results.push_back(leaf.grad());
  return results;
}

}  // namespace molora::testing
