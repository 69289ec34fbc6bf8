#include "plan/traffic_plan.h"

#include <algorithm>
#include <map>

#include "base/check.h"
#include "plan/held_parameters.h"
#include "plan/traffic_items.h"

namespace molora {

namespace {

constexpr double kCountBytes = 8;      // of a number of rows, int64
constexpr double kPositionBytes = 16;  // of a row's sample and position, int64 each

// Whether the gradient with respect to what the group reads is formed at all.
enum class InputGradient { kNone, kNeeded };

double sum_over(const std::vector<TrafficItem>& items, const TrafficFilter& filter,
                double TrafficItem::*number) {
  const auto agrees = [](const auto& wanted, const auto& value) {
    return !wanted || *wanted == value;
  };
  double sum = 0;
  for (const TrafficItem& item : items) {
    if (agrees(filter.purpose, item.purpose) && agrees(filter.pass, item.pass) &&
        agrees(filter.axis, item.axis) && agrees(filter.kind, item.kind)) {
      sum += item.*number;
    }
  }
  return sum;
}

bool is_trained(const std::vector<PlannedLinear>& linears) {
  bool any = false;
  for (const PlannedLinear& linear : linears) any = any || linear.is_adapted();
  return any;
}

struct GroupInLayer {
  int64_t layer = 0;
  LinearGroup group = LinearGroup::kQkv;
};

// The base's own collectives around one group of linears.
void add_base_group(const PlanInput& input, const GroupInLayer& at, TrafficItems& items) {
  const auto [layer, group] = at;
  const double hidden =
      product(input.tokens, input.architecture.hidden_size, input.activation_bytes);
  const bool goes_on = needs_input_gradient(input, layer, group);
  if (split_of(group) == Split::kColumn) {
    if (input.is_sequence_parallel) {
      items.tensor_all_gather(Purpose::kColumnInput, Pass::kForward, hidden);
      if (goes_on) items.tensor_reduce_scatter(Purpose::kColumnInput, Pass::kBackward, hidden);
    } else if (goes_on) {
      items.tensor_sum(Purpose::kColumnInput, Pass::kBackward, hidden);
    }
  } else if (input.is_sequence_parallel) {
    items.tensor_reduce_scatter(Purpose::kRowOutput, Pass::kForward, hidden);
    if (goes_on || is_trained(group_linears(input, group)))
      items.tensor_all_gather(Purpose::kRowOutput, Pass::kBackward, hidden);
  } else {
    items.tensor_sum(Purpose::kRowOutput, Pass::kForward, hidden);
  }
}

void add_embedding_and_loss(const PlanInput& input, TrafficItems& items) {
  const double width = product(input.architecture.hidden_size, input.activation_bytes);
  const double hidden = product(input.tokens) * width;
  const double states = product(input.supervised) * width;
  if (input.is_sequence_parallel) {
    items.tensor_reduce_scatter(Purpose::kEmbedding, Pass::kForward, hidden);
    items.tensor_all_gather(Purpose::kLoss, Pass::kForward, states);
    items.tensor_reduce_scatter(Purpose::kLoss, Pass::kBackward, states);
  } else {
    items.tensor_sum(Purpose::kEmbedding, Pass::kForward, hidden);
    items.tensor_sum(Purpose::kLoss, Pass::kBackward, states);
  }
  // Three numbers of each token from every rank to every other.
  items.tensor_all_gather(Purpose::kLoss, Pass::kForward,
                          3 * product(input.supervised, input.master_bytes, input.mesh.tp));
}

// Modes other than `tokens`, and plain LoRA as `replicate`.
void add_bottleneck(const PlanInput& input, const PlannedLinear& linear, Split split,
                    ExchangeMode mode, TrafficItems& items) {
  const AdapterSpec& spec = linear.spec;
  const double slot = product(input.tokens, spec.lora_rank, input.activation_bytes);
  if (mode == ExchangeMode::kRank) {
    const double chosen = slot * product(spec.experts_per_token);
    if (input.is_gpu) {
      // The same rows from every rank, added up, there and back: nobody need know who chose what.
      items.tensor_sum(Purpose::kBottleneck, Pass::kForward, chosen);
      items.tensor_sum(Purpose::kBottleneck, Pass::kBackward, chosen);
    } else if (split == Split::kColumn) {
      items.tensor_all_gather(Purpose::kBottleneck, Pass::kForward, chosen);
      items.tensor_reduce_scatter(Purpose::kBottleneck, Pass::kBackward, chosen);
    } else {
      items.tensor_reduce_scatter(Purpose::kBottleneck, Pass::kForward, chosen);
      items.tensor_all_gather(Purpose::kBottleneck, Pass::kBackward, chosen);
    }
  } else if (split == Split::kColumn && input.is_sequence_parallel && !spec.is_of_block()) {
    const double all = slot * product(spec.num_experts);
    items.tensor_all_gather(Purpose::kBottleneck, Pass::kForward, all);
    items.tensor_reduce_scatter(Purpose::kBottleneck, Pass::kBackward, all);
  }
  if (split == Split::kRow && spec.has_router() && !spec.is_of_block()) {
    const double logits = product(input.tokens, spec.num_experts, input.master_bytes);
    items.tensor_sum(Purpose::kRouterLogits, Pass::kForward, logits);
    items.tensor_sum(Purpose::kRouterLogits, Pass::kBackward, logits);
  }
}

void add_expert_weights(const PlanInput& input, const PlannedLinear& linear, TrafficItems& items) {
  const double values =
      product(linear.spec.num_experts, linear.spec.lora_rank, linear.in_held + linear.out_held,
              input.mesh.ep - 1, input.mesh.edp);
  items.expert_all_to_all(Purpose::kExpertWeights, Pass::kForward,
                          values * product(input.activation_bytes));
  items.expert_all_to_all(Purpose::kExpertWeights, Pass::kBackward,
                          values * product(input.activation_bytes));
}

// The slices of tokens that one rank dispatches, made from and back to what its tp group holds.
void add_reshapes(const PlanInput& input, const PlannedLinear& linear, Split split,
                  InputGradient gradient, TrafficItems& items) {
  const double token = product(input.tokens, input.activation_bytes);
  if (split == Split::kColumn) {
    const double values = token * product(linear.out_held, input.mesh.tp);
    items.tensor_reshape(Purpose::kTokensReshape, Pass::kForward, values);
    items.tensor_reshape(Purpose::kTokensReshape, Pass::kBackward, values);
  } else {
    const double values = token * product(linear.in);
    items.tensor_reshape(Purpose::kTokensReshape, Pass::kForward, values);
    if (gradient == InputGradient::kNeeded)
      items.tensor_reshape(Purpose::kTokensReshape, Pass::kBackward, values);
  }
}

// experts: the group's linears with experts, at least one.
void add_dispatch(const PlanInput& input, const std::vector<PlannedLinear>& experts,
                  InputGradient gradient, double pairs, TrafficItems& items) {
  const MeshShape& mesh = input.mesh;
  items.expert_all_to_all(Purpose::kTokenCounts, Pass::kForward,
                          kCountBytes * mesh.ep * (mesh.ep - 1) * mesh.edp);
  const auto b = product(input.activation_bytes);
  const double rows = pairs * product(experts.front().in) * b;
  double results = 0;
  double gates = 0;
  bool has_dropout = false;
  for (const PlannedLinear& linear : experts) {
    results += pairs * product(linear.out) * b;
    gates += pairs * product(linear.spec.num_experts / mesh.ep, input.master_bytes);
    has_dropout = has_dropout || linear.spec.dropout > 0;
  }
  items.expert_all_to_all(Purpose::kDispatchRows, Pass::kForward, rows);
  items.expert_all_to_all(Purpose::kDispatchGates, Pass::kForward, gates);
  if (has_dropout)
    items.expert_all_to_all(Purpose::kDispatchGates, Pass::kForward, pairs * kPositionBytes);
  items.expert_all_to_all(Purpose::kCombineRows, Pass::kForward, results);
  items.expert_all_to_all(Purpose::kCombineRows, Pass::kBackward, results);
  items.expert_all_to_all(Purpose::kDispatchGates, Pass::kBackward, gates);
  if (gradient == InputGradient::kNeeded)
    items.expert_all_to_all(Purpose::kDispatchRows, Pass::kBackward, rows);
}

// The adapters of one group in one layer.
void add_adapters(const PlanInput& input, const GroupInLayer& at, ExchangeMode mode,
                  double remote_pairs, TrafficItems& items) {
  const auto [layer, group] = at;
  const Split split = split_of(group);
  const InputGradient gradient =
      needs_input_gradient(input, layer, group) ? InputGradient::kNeeded : InputGradient::kNone;
  std::vector<PlannedLinear> dispatched;
  for (const PlannedLinear& linear : group_linears(input, group)) {
    if (!linear.is_adapted()) continue;
    const ExchangeMode own = linear.has_experts() ? mode : ExchangeMode::kReplicate;
    if (own == ExchangeMode::kTokens) {
      add_reshapes(input, linear, split, gradient, items);
      dispatched.push_back(linear);
      continue;
    }
    add_bottleneck(input, linear, split, own, items);
    if (own == ExchangeMode::kGather) add_expert_weights(input, linear, items);
  }
  if (!dispatched.empty()) add_dispatch(input, dispatched, gradient, remote_pairs, items);
}

std::vector<TrafficItem> sums_of_gradients(const PlanInput& input,
                                           const std::map<Axis, int64_t>& counts) {
  TrafficItems items(input.mesh);
  const Purpose gathered = input.is_optimizer_sharded ? Purpose::kParameters : Purpose::kGradients;
  for (const auto& [axis, count] : counts) {
    items.axis_sum(axis, product(count, input.master_bytes), Purpose::kGradients, gathered);
  }
  return items.take();
}

}  // namespace

double expected_remote_pairs(const PlanInput& input, LinearGroup group) {
  const int64_t ep = input.mesh.ep;
  double chance_of_none = 1;  // that no linear chooses an expert of one given rank
  for (const PlannedLinear& linear : group_linears(input, group)) {
    if (!linear.has_experts()) continue;
    const int64_t elsewhere = linear.spec.num_experts - linear.spec.num_experts / ep;
    for (int64_t i = 0; i < linear.spec.experts_per_token; ++i) {
      chance_of_none *=
          std::max(0.0, product(elsewhere - i)) / product(linear.spec.num_experts - i);
    }
  }
  return product(input.tokens, ep - 1) * (1 - chance_of_none);
}

std::vector<TrafficItem> group_traffic(const PlanInput& input, LinearGroup group, ExchangeMode mode,
                                       const RemotePairs& pairs) {
  if (!pairs.empty()) MOLORA_CHECK_EQ(std::ssize(pairs), input.architecture.num_layers);
  TrafficItems items(input.mesh);
  const double expected = expected_remote_pairs(input, group);
  for (int64_t layer = 0; layer < input.architecture.num_layers; ++layer) {
    const double remote = pairs.empty() ? expected : pairs.at(static_cast<size_t>(layer));
    add_adapters(input, {layer, group}, mode, remote, items);
  }
  if (input.are_layers_recomputed()) items.repeat_forward();
  return items.take();
}

std::vector<TrafficItem> base_traffic(const PlanInput& input) {
  TrafficItems items(input.mesh);
  for (int64_t layer = 0; layer < input.architecture.num_layers; ++layer) {
    for (const LinearGroup group : kLinearGroups) add_base_group(input, {layer, group}, items);
  }
  if (input.are_layers_recomputed()) items.repeat_forward();
  add_embedding_and_loss(input, items);
  return items.take();
}

std::vector<TrafficItem> micro_step_traffic(
    const PlanInput& input, const ExchangeModes& modes,
    const std::array<RemotePairs, kNumLinearGroups>& pairs) {
  TrafficItems items(input.mesh);
  items.add_all(base_traffic(input));
  for (const LinearGroup group : kLinearGroups) {
    items.add_all(
        group_traffic(input, group, modes.of(group), pairs.at(static_cast<size_t>(group))));
  }
  return items.take();
}

std::vector<TrafficItem> group_step_traffic(const PlanInput& input, LinearGroup group,
                                            ExchangeMode mode) {
  std::map<Axis, int64_t> counts;
  for (const HeldParameters& held : held_parameters(input, group, mode)) {
    counts[held.axis] += held.count;
  }
  return sums_of_gradients(input, counts);
}

std::vector<TrafficItem> step_traffic(const PlanInput& input, const ExchangeModes& modes) {
  std::map<Axis, int64_t> counts;
  for (const LinearGroup group : kLinearGroups) {
    for (const HeldParameters& held : held_parameters(input, group, modes.of(group))) {
      counts[held.axis] += held.count;
    }
  }
  return sums_of_gradients(input, counts);
}

const char* pass_name(Pass pass) {
  switch (pass) {
    case Pass::kForward:
      return "forward";
    case Pass::kRecompute:
      return "recompute";
    case Pass::kBackward:
      return "backward";
    case Pass::kStep:
      return "step";
  }
  return "?";
}

const char* purpose_name(Purpose purpose) {
  constexpr std::array<const char*, kNumPurposes> kNames = {
      "column input",   "row output",     "embedding",     "loss",           "bottleneck",
      "router logits",  "token counts",   "dispatch rows", "dispatch gates", "combine rows",
      "tokens reshape", "expert weights", "gradients",     "parameters"};
  return kNames.at(static_cast<size_t>(purpose));
}

double bytes_sent(const std::vector<TrafficItem>& items, const TrafficFilter& filter) {
  return sum_over(items, filter, &TrafficItem::bytes);
}

double calls_made(const std::vector<TrafficItem>& items, const TrafficFilter& filter) {
  return sum_over(items, filter, &TrafficItem::calls);
}

}  // namespace molora
