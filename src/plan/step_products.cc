#include "plan/step_products.h"

#include <algorithm>

#include "plan/work_plan.h"

namespace molora {

namespace {

void add(std::vector<StepProduct>& products, const StepProduct& more) {
  if (more.count == 0 || more.rows == 0) return;
  const auto same = std::find_if(products.begin(), products.end(), [&](const StepProduct& of) {
    return of.kind == more.kind && of.rows == more.rows && of.in == more.in && of.out == more.out &&
           of.is_head == more.is_head;
  });
  if (same == products.end()) {
    products.push_back(more);
  } else {
    same->count += more.count;
  }
}

void add_both(std::vector<StepProduct>& products, StepProduct more, int64_t num_gradients) {
  more.kind = ProductKind::kForward;
  add(products, more);
  more.kind = ProductKind::kInputGradient;
  more.count = num_gradients;
  add(products, more);
}

// Layers whose group passes a gradient on to its input.
int64_t layers_with_gradient(const PlanInput& input, LinearGroup group) {
  int64_t count = 0;
  for (int64_t layer = 0; layer < input.architecture.num_layers; ++layer) {
    count += needs_input_gradient(input, layer, group) ? 1 : 0;
  }
  return count;
}

void add_head(const PlanInput& input, int64_t head_rows, std::vector<StepProduct>& products) {
  const int64_t supervised = input.supervised / input.mesh.dp;
  const int64_t vocabulary = input.architecture.vocab_size / input.mesh.tp;
  const StepProduct whole{.rows = head_rows,
                          .in = input.architecture.hidden_size,
                          .out = vocabulary,
                          .count = supervised / head_rows * input.micro_steps,
                          .is_head = true};
  add_both(products, whole, whole.count);
  StepProduct rest = whole;
  rest.rows = supervised % head_rows;
  rest.count = input.micro_steps;
  add_both(products, rest, rest.count);
}

// Scores and values, one product with the queries each; two for each in the backward pass. A token
// sees those before it, half of its row on average, or its window.
double attention_flops(const PlanInput& input) {
  double flops = 0;
  const double tokens = product(input.tokens) / input.mesh.dp;
  for (int64_t layer = 0; layer < input.architecture.num_layers; ++layer) {
    const int64_t window = input.architecture.attention_window.at(static_cast<size_t>(layer));
    const double row = product(input.row_tokens);
    const double seen = product(window);
    const double context =
        window == 0 || window >= input.row_tokens ? row / 2 : seen * (1 - seen / (2 * row));
    const double passes = needs_input_gradient(input, layer, LinearGroup::kO) ? 3 : 1;
    flops += 4 * tokens * context * product(input.architecture.q_size()) / input.mesh.tp * passes;
  }
  return flops * product(input.micro_steps);
}

}  // namespace

std::vector<StepProduct> step_products(const PlanInput& input, int64_t head_rows) {
  std::vector<StepProduct> products;
  for (const LinearGroup group : kLinearGroups) {
    const int64_t gradients = layers_with_gradient(input, group) * input.micro_steps;
    for (const PlannedLinear& linear : group_linears(input, group)) {
      add_both(products,
               {.rows = input.tokens / input.mesh.dp,
                .in = linear.in_held,
                .out = linear.out_held,
                .count = input.architecture.num_layers * input.micro_steps},
               gradients);
    }
  }
  add_head(input, head_rows, products);
  return products;
}

UsefulFlops useful_flops(const PlanInput& input, const ExchangeModes& modes) {
  UsefulFlops flops;
  for (const StepProduct& of : step_products(input, std::max<int64_t>(1, input.supervised))) {
    (of.is_head                         ? flops.head
     : of.kind == ProductKind::kForward ? flops.base_forward
                                        : flops.base_gradient) += of.flops();
  }
  flops.attention = attention_flops(input);
  PlanInput once = input;
  once.recompute = TrainConfig::none;
  for (const LinearGroup group : kLinearGroups) {
    flops.adapters += adapter_work(once, group, modes.of(group)).flops * product(input.micro_steps);
  }
  return flops;
}

}  // namespace molora
