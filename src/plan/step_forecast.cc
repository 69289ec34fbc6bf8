#include "plan/step_forecast.h"

#include <algorithm>

#include "plan/held_parameters.h"
#include "plan/traffic_plan.h"
#include "plan/work_plan.h"

namespace molora {

namespace {

// Backward over forward of attention's core: scores once more, and two products for each.
constexpr double kAttentionBackward = 2.5;
constexpr double kAdapterBackward = 2;
// Values read and written for one value of a state, by fused kernels.
constexpr double kNormForward = 2;
constexpr double kNormBackward = 3;
constexpr double kSumForward = 3;   // of a residual connection
constexpr double kSumBackward = 3;  // of the two gradients of a branch
constexpr double kTurn = 2;         // rotary embedding, either way
constexpr double kActivationForward = 3;
constexpr double kActivationBackward = 5;
constexpr double kAttentionReads = 4;
constexpr double kAttentionBackwardReads = 8;
// Bytes moved for one logit in fp32: cast, largest, exponent, sum, gradient, cast
// (src/train/loss.cc).
constexpr double kLogitBytes = 48;
constexpr double kLogitChunk = 512;
constexpr double kOptimizerMoves = 7;
// Operators of a layer, forward and backward together: base, an adapted linear, its router.
constexpr double kBaseOperators = 36;
constexpr double kAdapterOperators = 12;
constexpr double kRouterOperators = 12;

// What repeats in every layer of a micro-step, forward and backward.
struct LayerWork {
  TermSeconds forward;
  TermSeconds backward;
};

double rank_tokens(const PlanInput& input) { return product(input.tokens) / input.mesh.dp; }

// Bytes that a quantised value takes in memory, its share of the scales included.
double quantised_bytes(ModelConfig::Quantization quantization) {
  return quantization == ModelConfig::int8 ? 1 + 4.0 / 128 : 0.5 + 4.0 / 64;
}

// All calls and bytes of one rank over the axes of `items`, into the terms of their axes.
void add_links(const std::vector<TrafficItem>& items, const PlanInput& input,
               const MachineModel& machine, TermSeconds& seconds) {
  for (const TrafficItem& item : items) {
    const TimeTerm term = item.axis == Axis::kTensor   ? TimeTerm::kTensorLinks
                          : item.axis == Axis::kExpert ? TimeTerm::kExpertLinks
                                                       : TimeTerm::kDataLinks;
    seconds[term] += machine.collective_seconds(item.kind, group_of_axis(input.mesh, item.axis),
                                                item.calls, item.bytes / input.mesh.world());
  }
}

// Of a model with so many layers instead.
PlanInput with_layers(const PlanInput& input, int64_t layers) {
  PlanInput other = input;
  other.architecture.num_layers = layers;
  return other;
}

// Links of a micro-step: every layer but the first sends the same, so two small models tell.
template <typename Traffic>
TermSeconds links_of_micro_step(const PlanInput& input, const MachineModel& machine,
                                const Traffic& traffic) {
  TermSeconds one;
  add_links(traffic(with_layers(input, 1)), input, machine, one);
  const int64_t layers = input.architecture.num_layers;
  if (layers == 1) return one;
  TermSeconds two;
  add_links(traffic(with_layers(input, 2)), input, machine, two);
  TermSeconds more = one;
  more *= -1;
  more += two;
  more *= product(layers - 1);
  one += more;
  return one;
}

void add_base_products(const PlanInput& input, const MachineModel& machine, LayerWork& layer) {
  const double tokens = rank_tokens(input);
  for (const LinearGroup group : kLinearGroups) {
    for (const PlannedLinear& linear : group_linears(input, group)) {
      const auto in = product(linear.in_held);
      const auto out = product(linear.out_held);
      const double seconds = machine.product_seconds({tokens, in, out});
      layer.forward[TimeTerm::kBase] += seconds;
      layer.backward[TimeTerm::kBase] += seconds;
      if (input.quantization == ModelConfig::none) continue;
      const double expansion = machine.memory_seconds(
          in * out * (quantised_bytes(input.quantization) + product(input.activation_bytes)));
      layer.forward[TimeTerm::kExpansion] += expansion;
      layer.backward[TimeTerm::kExpansion] += expansion;
    }
  }
}

void add_attention(const PlanInput& input, const MachineModel& machine, LayerWork& layer) {
  const Architecture& model = input.architecture;
  double context = 0;
  for (int64_t i = 0; i < model.num_layers; ++i) {
    context += mean_context(input.row_tokens, model.attention_window.at(static_cast<size_t>(i)));
  }
  context /= product(model.num_layers);
  const double width = product(model.q_size()) / input.mesh.tp;
  const double flops = 4 * rank_tokens(input) * context * width;
  const double forward = machine.arithmetic_seconds(flops, product(model.head_dim));
  const double state = rank_tokens(input) * width * product(input.activation_bytes);
  layer.forward[TimeTerm::kAttention] += forward + machine.memory_seconds(state * kAttentionReads);
  layer.backward[TimeTerm::kAttention] +=
      forward * kAttentionBackward + machine.memory_seconds(state * kAttentionBackwardReads);
}

void add_elementwise(const PlanInput& input, const MachineModel& machine, LayerWork& layer) {
  const Architecture& model = input.architecture;
  const auto b = product(input.activation_bytes);
  const double tokens = rank_tokens(input);
  const double states = (input.is_sequence_parallel ? tokens / input.mesh.tp : tokens) *
                        product(model.hidden_size) * b;
  const double heads = tokens * product(model.q_size() + model.kv_size()) / input.mesh.tp * b;
  const double turned = heads * (kTurn + (model.has_qk_norm ? kNormForward : 0));
  const double turned_back = heads * (kTurn + (model.has_qk_norm ? kNormBackward : 0));
  const double mlp = tokens * product(model.intermediate_size) / input.mesh.tp * b;
  layer.forward[TimeTerm::kElementwise] += machine.memory_seconds(
      2 * states * (kNormForward + kSumForward) + turned + mlp * kActivationForward);
  layer.backward[TimeTerm::kElementwise] += machine.memory_seconds(
      2 * states * (kNormBackward + kSumBackward) + turned_back + mlp * kActivationBackward);
}

// The part of the forward work that is done again in the backward pass.
double recomputed_seconds(const PlanInput& input, const TermSeconds& forward) {
  if (input.recompute == TrainConfig::full) return forward.total();
  if (input.recompute != TrainConfig::selective) return 0;
  // A GPU's attention keeps no more than its input and result (CausalLM::attention_core).
  return forward[TimeTerm::kElementwise] + (input.is_gpu ? 0 : forward[TimeTerm::kAttention]);
}

// `layer` for every layer of every micro-step of a step.
TermSeconds over_layers(const PlanInput& input, const LayerWork& layer, double backward_layers) {
  const auto layers = product(input.architecture.num_layers);
  TermSeconds sum = layer.forward;
  sum *= layers;
  TermSeconds backward = layer.backward;
  backward *= backward_layers;
  sum += backward;
  sum[TimeTerm::kRecompute] += layers * recomputed_seconds(input, layer.forward);
  return sum;
}

double head_seconds(const PlanInput& input, const MachineModel& machine) {
  const double supervised = product(input.supervised) / input.mesh.dp;
  const double rows = product(input.architecture.vocab_size) / input.mesh.tp;
  const double chunk = std::min(kLogitChunk, supervised);
  const auto hidden = product(input.architecture.hidden_size);
  const double products = 2 * supervised / chunk * machine.product_seconds({chunk, hidden, rows});
  const double embedding = rank_tokens(input) * hidden * product(input.activation_bytes) * 2;
  return products + machine.memory_seconds(supervised * rows * kLogitBytes + embedding);
}

MatrixProduct as_matrix(const Product& of) { return {of.tokens, of.in, of.out}; }

// All experts in two products, or each token's own k with their rows brought together.
double expert_product_seconds(const PlanInput& input, const PlannedLinear& linear,
                              const Product& dense, const MachineModel& machine) {
  const double all = machine.product_seconds(as_matrix(dense));
  const AdapterSpec& spec = linear.spec;
  if (!spec.has_router() || input.adapter.expert_compute() == AdapterConfig::dense) return all;
  const double share = product(spec.experts_per_token) / product(spec.num_experts);
  const double size = std::min(product(spec.lora_rank), dense.tokens * share);
  const double wide = std::max(dense.in, dense.out);
  const double moved =
      2 * dense.tokens * product(spec.experts_per_token) * wide * product(input.activation_bytes);
  const double own = std::max(machine.arithmetic_seconds(2 * dense.pairs() * share, size),
                              machine.memory_seconds(moved));
  return input.adapter.expert_compute() == AdapterConfig::grouped ? own : std::min(all, own);
}

LayerWork adapter_layer(const PlanInput& input, LinearGroup group, ExchangeMode mode,
                        const MachineModel& machine) {
  LayerWork layer;
  const auto b = product(input.activation_bytes);
  const auto w = product(input.master_bytes);
  double row_bytes = 0;
  for (const PlannedLinear& linear : group_linears(input, group)) {
    if (!linear.is_adapted()) continue;
    const ExchangeMode own = linear.has_experts() ? mode : ExchangeMode::kReplicate;
    const AdapterProducts products = adapter_products(input, group, linear, own);
    double seconds = expert_product_seconds(input, linear, products.a, machine) +
                     expert_product_seconds(input, linear, products.b, machine);
    // Adding to the base's output, gates on the bottleneck, and the dropped input.
    double bytes = products.b.tokens * (products.b.out + 3 * products.b.in) * b;
    if (linear.spec.dropout > 0) bytes += 2 * products.a.tokens * products.a.in * b;
    if (linear.spec.has_router()) {
      // It reads the input in the wide type.
      bytes += products.router_tokens * products.a.in * (b + 2 * w) +
               8 * products.router_tokens * product(linear.spec.num_experts) * w;
    }
    seconds += machine.memory_seconds(bytes);
    layer.forward[TimeTerm::kAdapters] += seconds;
    layer.backward[TimeTerm::kAdapters] += kAdapterBackward * seconds;
    if (own != ExchangeMode::kTokens) continue;
    row_bytes += (row_bytes == 0 ? product(linear.in) : 0) * b + product(linear.out) * b;
  }
  const double moves = machine.memory_seconds(4 * received_rows(input, group) * row_bytes);
  layer.forward[TimeTerm::kAdapters] += moves;
  layer.backward[TimeTerm::kAdapters] += moves;
  return layer;
}

// Once a step: sums of gradients and the update.
TermSeconds once_a_step(const PlanInput& input, LinearGroup group, ExchangeMode mode,
                        const MachineModel& machine) {
  TermSeconds seconds;
  add_links(group_step_traffic(input, group, mode), input, machine, seconds);
  double updated = 0;
  for (const HeldParameters& held : held_parameters(input, group, mode)) {
    const int copies = input.is_optimizer_sharded ? axis_size(input.mesh, held.axis) : 1;
    updated += product(held.count) / copies;
  }
  const auto w = product(input.master_bytes);
  seconds[TimeTerm::kOptimizer] = machine.memory_seconds(updated * kOptimizerMoves * w);
  if (input.is_gpu && input.is_optimizer_offloaded) {
    // Gradients to the host, values back, and the update at a host's tenth of the bandwidth.
    constexpr double kHostShare = 10;
    seconds[TimeTerm::kOptimizer] *= kHostShare;
  }
  return seconds;
}

}  // namespace

double TermSeconds::total() const {
  double sum = 0;
  for (const double seconds : seconds_) sum += seconds;
  return sum;
}

TermSeconds& TermSeconds::operator+=(const TermSeconds& other) {
  for (size_t i = 0; i < seconds_.size(); ++i) seconds_.at(i) += other.seconds_.at(i);
  return *this;
}

TermSeconds& TermSeconds::operator*=(double factor) {
  for (double& seconds : seconds_) seconds *= factor;
  return *this;
}

TermSeconds base_forecast(const PlanInput& input, const MachineModel& machine) {
  LayerWork layer;
  add_base_products(input, machine, layer);
  add_attention(input, machine, layer);
  add_elementwise(input, machine, layer);
  const double first = needs_input_gradient(input, 0, LinearGroup::kO) ? 1 : 0;
  TermSeconds sum = over_layers(input, layer, product(input.architecture.num_layers - 1) + first);
  sum[TimeTerm::kHead] = head_seconds(input, machine);
  sum += links_of_micro_step(input, machine, [](const PlanInput& of) { return base_traffic(of); });
  sum *= product(input.micro_steps);
  return sum;
}

TermSeconds adapter_forecast(const PlanInput& input, LinearGroup group, ExchangeMode mode,
                             const MachineModel& machine) {
  const LayerWork layer = adapter_layer(input, group, mode, machine);
  TermSeconds sum = over_layers(input, layer, product(input.architecture.num_layers));
  // Parameters are cast and read, their gradients written and added up.
  double used = product(fetched_values(input, group, mode), input.architecture.num_layers);
  for (const HeldParameters& held : held_parameters(input, group, mode))
    used += product(held.count);
  sum[TimeTerm::kAdapters] += machine.memory_seconds(
      used * (product(3, input.activation_bytes) + product(5, input.master_bytes)));
  sum += links_of_micro_step(input, machine,
                             [&](const PlanInput& of) { return group_traffic(of, group, mode); });
  sum *= product(input.micro_steps);
  sum += once_a_step(input, group, mode, machine);
  return sum;
}

double host_seconds(const PlanInput& input, const TermSeconds& work, const MachineModel& machine) {
  double operators = kBaseOperators;
  for (const LinearGroup group : kLinearGroups) {
    for (const PlannedLinear& linear : group_linears(input, group)) {
      if (linear.is_adapted()) operators += kAdapterOperators;
      if (linear.spec.has_router()) operators += kRouterOperators;
    }
  }
  if (input.are_layers_recomputed()) operators *= 1.5;
  const double host = operators * product(input.architecture.num_layers, input.micro_steps) *
                      machine.operator_latency();
  return input.is_gpu ? std::max(0.0, host - work.total()) : host;
}

TermSeconds step_forecast(const PlanInput& input, const ExchangeModes& modes,
                          const MachineModel& machine) {
  TermSeconds sum = base_forecast(input, machine);
  for (const LinearGroup group : kLinearGroups) {
    sum += adapter_forecast(input, group, modes.of(group), machine);
  }
  sum[TimeTerm::kHost] = host_seconds(input, sum, machine);
  return sum;
}

const char* time_term_name(TimeTerm term) {
  constexpr std::array<const char*, kNumTimeTerms> kNames = {
      "base products", "expanding weights", "attention",     "adapters",
      "elementwise",   "recomputation",     "head and loss", "tp links",
      "ep links",      "gradient links",    "optimizer",     "host"};
  return kNames.at(static_cast<size_t>(term));
}

}  // namespace molora
