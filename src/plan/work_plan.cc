#include "plan/work_plan.h"

#include "plan/held_parameters.h"
#include "plan/traffic_plan.h"

namespace molora {

namespace {

constexpr double kFlopsPerPair = 2;
// Adapter products in the backward pass, over those of the forward pass: two for each.
constexpr double kAdapterBackward = 2;
// Of packing rows at the sender, unpacking them, packing results and putting them back: each row
// is read and written twice.
constexpr double kRowMoves = 4;

double rank_tokens(const PlanInput& input) { return product(input.tokens) / input.mesh.dp; }

// Forward passes and as many times `backward`.
double passes(const PlanInput& input, double backward) {
  return (input.are_layers_recomputed() ? 2 : 1) + backward;
}

Work linear_work(const PlanInput& input, const PlannedLinear& linear,
                 const AdapterProducts& products) {
  const double experts = linear.spec.has_router() ? product(linear.spec.num_experts) : 0;
  const Product router{products.router_tokens, products.a.in, experts};
  const double pairs = products.a.pairs() + products.b.pairs() + router.pairs();
  // The input is read, the output read and written.
  const double values = products.a.tokens * products.a.in + 2 * products.b.tokens * products.b.out;
  const Work forward{kFlopsPerPair * pairs, product(input.activation_bytes) * values};
  return forward * passes(input, kAdapterBackward);
}

// Every parameter in use is cast, read by two passes, and its gradient written and added up.
double parameter_bytes(const PlanInput& input, LinearGroup group, ExchangeMode mode) {
  double used = product(fetched_values(input, group, mode), input.architecture.num_layers);
  for (const HeldParameters& held : held_parameters(input, group, mode)) {
    used += product(held.count);
  }
  return used * (product(3, input.activation_bytes) + product(5, input.master_bytes));
}

}  // namespace

double received_rows(const PlanInput& input, LinearGroup group) {
  if (input.mesh.ep == 1) return product(input.tokens) / input.mesh.world();
  const double remote = expected_remote_pairs(input, group) / input.mesh.world();
  return remote * input.mesh.ep / (input.mesh.ep - 1);
}

AdapterProducts adapter_products(const PlanInput& input, LinearGroup group,
                                 const PlannedLinear& linear, ExchangeMode mode) {
  const bool is_column = split_of(group) == Split::kColumn;
  const double tokens = rank_tokens(input);
  const double slice = tokens / input.mesh.tp;
  const double width = product(linear.spec.num_experts, linear.spec.lora_rank);
  if (mode == ExchangeMode::kTokens) {
    const double rows = received_rows(input, group);
    const double width_here = width / input.mesh.ep;
    return {.a = {rows, product(linear.in), width_here},
            .b = {rows, width_here, product(linear.out)},
            .router_tokens = slice};
  }
  AdapterProducts products{.a = {tokens, product(linear.in_held), width},
                           .b = {tokens, width, product(linear.out_held)},
                           .router_tokens = tokens};
  if (mode == ExchangeMode::kRank) {
    (is_column ? products.a.out : products.b.in) /= input.mesh.tp;
  } else if (is_column && input.is_sequence_parallel) {
    products.a.tokens = slice;
    products.router_tokens = slice;
  }
  return products;
}

double mean_context(int64_t row_tokens, int64_t window) {
  const double row = product(row_tokens);
  const double seen = product(window);
  return window == 0 || window >= row_tokens ? row / 2 : seen * (1 - seen / (2 * row));
}

Work operator+(const Work& a, const Work& b) {
  return {a.flops + b.flops, a.memory_bytes + b.memory_bytes};
}

Work operator*(const Work& work, double factor) {
  return {work.flops * factor, work.memory_bytes * factor};
}

Work base_work(const PlanInput& input) {
  const double tokens = rank_tokens(input);
  double flops = 0;
  for (int64_t layer = 0; layer < input.architecture.num_layers; ++layer) {
    for (const LinearGroup group : kLinearGroups) {
      const double backward = needs_input_gradient(input, layer, group) ? 1 : 0;
      for (const PlannedLinear& linear : group_linears(input, group)) {
        flops += kFlopsPerPair * tokens * product(linear.in_held, linear.out_held) *
                 passes(input, backward);
      }
    }
    // Scores and values, each one product with the queries; two for each in the backward pass.
    const double context = mean_context(
        input.row_tokens, input.architecture.attention_window.at(static_cast<size_t>(layer)));
    const double backward = needs_input_gradient(input, layer, LinearGroup::kO) ? 2 : 0;
    flops += 2 * kFlopsPerPair * tokens * context * product(input.architecture.q_size()) /
             input.mesh.tp * passes(input, backward);
  }
  // Logits, and the gradient with respect to the states.
  const double head = product(input.architecture.vocab_size, input.architecture.hidden_size) *
                      product(input.supervised) / input.mesh.world();
  return {flops + 2 * kFlopsPerPair * head, 0};
}

Work adapter_work(const PlanInput& input, LinearGroup group, ExchangeMode mode) {
  const auto b = product(input.activation_bytes);
  Work layer;
  double row_bytes = 0;
  for (const PlannedLinear& linear : group_linears(input, group)) {
    if (!linear.is_adapted()) continue;
    const ExchangeMode own = linear.has_experts() ? mode : ExchangeMode::kReplicate;
    layer = layer + linear_work(input, linear, adapter_products(input, group, linear, own));
    if (own != ExchangeMode::kTokens) continue;
    if (row_bytes == 0) row_bytes += product(linear.in) * b;
    row_bytes += product(linear.out) * b;
  }
  if (row_bytes > 0) {
    layer.memory_bytes += kRowMoves * received_rows(input, group) * row_bytes * passes(input, 1);
  }
  const double layers = product(input.architecture.num_layers);
  const double fetched = product(fetched_values(input, group, mode)) *
                         (2 * b * passes(input, 0) + 2 * product(input.master_bytes));
  layer.memory_bytes += fetched;
  layer = layer * layers;
  layer.memory_bytes += parameter_bytes(input, group, mode);
  return layer;
}

}  // namespace molora
