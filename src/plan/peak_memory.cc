#include "plan/peak_memory.h"

#include <algorithm>
#include <iterator>

#include "parallel/shard.h"
#include "plan/held_parameters.h"
#include "plan/memory_plan.h"

namespace molora {

namespace {

constexpr double kMiB = 1 << 20;
// Estimates, not measured. Code, LibTorch and MPI of a process, and what MKL and oneDNN keep.
constexpr double kProgram = 330 * kMiB;
// On a GPU: context, kernels and cuBLAS's workspace; for each communicator NCCL's buffers.
constexpr double kGpuContext = 560 * kMiB;
constexpr double kCommunicator = 180 * kMiB;
// Of the activations: gaps between blocks of a caching allocator.
constexpr double kGaps = 0.04;
constexpr double kLossChunk = 512;  // src/train/loss.cc

double rank_tokens(const PlanInput& input) { return product(input.tokens) / input.mesh.dp; }

double states_of(const PlanInput& input) {
  return rank_tokens(input) * product(input.architecture.hidden_size, input.activation_bytes);
}

// Values whose gradients this rank has, and those whose sums it keeps.
struct GradientValues {
  double local = 0;
  double owned = 0;
};

GradientValues gradient_values(const PlanInput& input, const ExchangeModes& modes) {
  GradientValues values;
  for (const LinearGroup group : kLinearGroups) {
    for (const HeldParameters& held : held_parameters(input, group, modes.of(group))) {
      const int copies = input.is_optimizer_sharded ? axis_size(input.mesh, held.axis) : 1;
      values.local += product(held.count);
      values.owned += product(held.count) / copies;
    }
  }
  return values;
}

// Of one logit at the fullest moment of the loss: the loops of the CPU work in its place, operators
// make it wide and then the difference to the largest (src/kernels/cross_entropy.cc).
double bytes_of_logit(const PlanInput& input) {
  const auto b = product(input.activation_bytes);
  const auto w = product(input.master_bytes);
  if (input.has_own_kernels && !input.is_gpu) return b;
  return b < w ? b + 2 * w : 2 * w;
}

double loss_working_set(const PlanInput& input) {
  const double supervised = product(input.supervised) / input.mesh.dp;
  const auto b = product(input.activation_bytes);
  const double rows = product(input.architecture.vocab_size) / input.mesh.tp;
  const double logits = std::min(kLossChunk, supervised) * rows;
  const double gradient = supervised * product(input.architecture.hidden_size) * b;
  return gradient + logits * bytes_of_logit(input);
}

// The largest gradients that are there at once in the backward pass of one layer: those of the MLP.
double layer_working_set(const PlanInput& input) {
  const double mlp = rank_tokens(input) * product(input.architecture.intermediate_size) /
                     input.mesh.tp * mlps_per_token(input);
  // The router of down reads its input in the wide type.
  const bool is_widened = input.activation_bytes < input.master_bytes &&
                          adapter_spec(input.adapter, LinearKind::kDown, 0).has_router();
  return 2 * states_of(input) + 2 * mlp * product(input.activation_bytes) +
         (is_widened ? mlp * product(input.master_bytes) : 0);
}

// What one layer keeps when it is computed again: it is there while its backward pass runs.
double recomputed_layer(const PlanInput& input, const ExchangeModes& modes) {
  if (!input.are_layers_recomputed()) return 0;
  PlanInput kept = input;
  kept.recompute = TrainConfig::none;
  return sum_of(kept_of_layer(kept, modes, input.architecture.num_layers > 1 ? 1 : 0));
}

// Buffers of the largest collective of a layer: what is sent, what is received.
double exchange_buffers(const PlanInput& input, const ExchangeModes& modes) {
  double buffers = input.mesh.tp > 1 ? 2 * states_of(input) : 0;
  for (const LinearGroup group : kLinearGroups) {
    if (modes.of(group) != ExchangeMode::kTokens || input.mesh.ep == 1) continue;
    const double rows = rank_tokens(input) / input.mesh.tp *
                        std::min<double>(input.mesh.ep, product(input.adapter.experts_per_token()));
    double width = 0;
    for (const PlannedLinear& linear : group_linears(input, group)) {
      if (linear.has_experts()) width = std::max(width, product(std::max(linear.in, linear.out)));
    }
    buffers = std::max(buffers, 2 * rows * width * product(input.activation_bytes));
  }
  return buffers;
}

int communicators(const MeshShape& mesh) {
  int count = 0;
  for (const Axis axis : kAxes) count += axis_size(mesh, axis) > 1 ? 1 : 0;
  return count;
}

}  // namespace

double base_bytes(const PlanInput& input) {
  const auto whole = product(base_slice_parameters(input));
  const auto b = product(input.activation_bytes);
  if (input.quantization == ModelConfig::none) return whole * b;
  double quantised = 0;
  double bytes = 0;
  const bool is_int8 = input.quantization == ModelConfig::int8;
  const int64_t block = is_int8 ? 128 : 64;
  for (const LinearGroup group : kLinearGroups) {
    for (const PlannedLinear& linear : group_linears(input, group)) {
      const int64_t scales = (linear.in_held + block - 1) / block;
      quantised += product(linear.in_held, linear.out_held);
      bytes += product(linear.out_held) *
               (product(linear.in_held) * (is_int8 ? 1 : 0.5) + 4 * product(scales));
    }
  }
  const auto layers = product(input.architecture.num_layers);
  return (whole - quantised * layers) * b + bytes * layers;
}

namespace {

// What differs from one moment of a step to the next.
struct Moment {
  double activations = 0;
  double gradients = 0;
  double working_set = 0;
  double exchange = 0;
  double sum() const { return activations + gradients + working_set + exchange; }
};

Moment fullest_moment(const PlanInput& input, const ExchangeModes& modes) {
  const auto w = product(input.master_bytes);
  const GradientValues values = gradient_values(input, modes);
  const double kept =
      sum_of(kept_activations(input, modes)) + memory_plan(input, modes).gathered_experts;
  const double first_kept = sum_of(kept_of_layer(input, modes, 0)) + choices_of_step(input);
  const double layer = layer_working_set(input) + recomputed_layer(input, modes);
  const double exchange = exchange_buffers(input, modes);
  // The sums of the last step are there until those of this one are.
  const double earlier = (values.owned + (input.micro_steps > 1 ? values.local : 0)) * w;
  const double all = (values.owned + values.local) * w;
  // Flattened for the members of a group, joined, and what is received of them.
  const double sums = input.mesh.world() > 1 ? (2 * values.local + values.owned) * w : 0;
  const Moment moments[] = {
      {kept, earlier, loss_working_set(input), 0},
      {kept, earlier, layer, exchange},
      {first_kept, all, layer, exchange},
      {choices_of_step(input), all, sums, 0},
  };
  return *std::max_element(std::begin(moments), std::end(moments),
                           [](const Moment& a, const Moment& b) { return a.sum() < b.sum(); });
}

}  // namespace

RankMemory peak_memory(const PlanInput& input, const ExchangeModes& modes) {
  const MemoryPlan plan = memory_plan(input, modes);
  const Moment moment = fullest_moment(input, modes);
  RankMemory memory;
  memory.base = base_bytes(input);
  memory.adapter = plan.adapter;
  memory.moments = input.is_gpu && input.is_optimizer_offloaded ? 0 : plan.moments;
  memory.gradients = moment.gradients;
  memory.activations = moment.activations;
  memory.working_set = moment.working_set;
  memory.exchange = moment.exchange;
  if (input.is_gpu) {
    memory.program = kGpuContext + kCommunicator * communicators(input.mesh);
  } else {
    memory.checkpoint_copy = plan.checkpoint_copy;
    memory.program = kProgram;
  }
  memory.reserve = kGaps * (memory.activations + memory.working_set + memory.exchange);
  return memory;
}

double host_memory_of_gpu_rank(const PlanInput& input, const ExchangeModes& modes) {
  const MemoryPlan plan = memory_plan(input, modes);
  return plan.checkpoint_copy + (input.is_optimizer_offloaded ? plan.moments : 0);
}

}  // namespace molora
