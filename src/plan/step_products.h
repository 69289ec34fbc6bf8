// The matrix products of a training step that are useful: what the base model and the head have to
// compute on one rank, each with its shape.
//
// Per token 2 P floating-point operations forward and, as frozen weights get no gradient, 2 P
// backward for the gradient of the input: 4 P with P the parameters of the linears. The head counts
// for supervised tokens only, the embedding table is looked up, and no gradient is needed below the
// lowest adapted layer. Computing anything again (recomputation) is not useful work.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/plan_input.h"

namespace molora {

enum class ProductKind {
  kForward,        // x W^T: [rows, in] x [in, out]
  kInputGradient,  // d_out W: [rows, out] x [out, in]
};

struct StepProduct {
  ProductKind kind = ProductKind::kForward;
  int64_t rows = 0;
  int64_t in = 0;  // of the weight [out, in] as this rank holds it
  int64_t out = 0;
  int64_t count = 0;  // in one step of the rank
  bool is_head = false;

  double flops() const { return 2 * product(rows, in, out, count); }
};

// Of one rank in one step: one entry for each kind and shape. `head_rows`: how many supervised
// tokens the head works on at once.
std::vector<StepProduct> step_products(const PlanInput& input, int64_t head_rows);

// Of one rank in one step: floating-point operations, forward and backward.
struct UsefulFlops {
  double base_forward = 0;
  double base_gradient = 0;
  double head = 0;  // both
  double attention = 0;
  double adapters = 0;  // routers with them
  double base_and_head() const { return base_forward + base_gradient + head; }
};
// `modes`: how experts meet their tokens.
UsefulFlops useful_flops(const PlanInput& input, const ExchangeModes& modes);

}  // namespace molora
