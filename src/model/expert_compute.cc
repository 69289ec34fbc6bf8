#include "model/expert_compute.h"

#include <algorithm>
#include <chrono>
#include <functional>

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "base/error.h"
#include "base/philox.h"
#include "model/grouped_experts.h"
#include "tensor/philox_tensor.h"

namespace molora {

namespace {

constexpr int kRepeats = 3;

// What one core computes at least in a second where dense products are worth a measurement; it
// bounds the tokens, not the choice.
constexpr double kFlopsPerSecond = 60e9;
constexpr int64_t kFewestTokens = 32;

// A linear's experts with inputs and the gradient of the output.
struct Trial {
  GroupedExperts experts;
  Tensor x_TD;
  Tensor out_TO;
  Tensor d_out_TO;
  Tensor d_x_TD;
};

Tensor random_tensor(at::IntArrayRef sizes, at::ScalarType type, uint64_t key) {
  Tensor numbers = at::empty(sizes, type == at::kDouble ? at::kDouble : at::kFloat);
  fill_uniform(numbers, 0.5, key, 0);
  return numbers.to(type);
}

// Each token's experts lie side by side from a random one on.
Tensor random_choice(const ExpertShape& shape) {
  Tensor chosen_TK = at::empty({shape.tokens, shape.per_token}, at::kLong);
  auto* chosen = chosen_TK.mutable_data_ptr<int64_t>();
  const auto experts = static_cast<uint64_t>(shape.experts);
  for (int64_t t = 0; t < shape.tokens; ++t) {
    const uint64_t first = philox_below(1, static_cast<uint64_t>(t), experts);
    for (int64_t i = 0; i < shape.per_token; ++i) {
      chosen[t * shape.per_token + i] =
          static_cast<int64_t>((first + static_cast<uint64_t>(i)) % experts);
    }
  }
  return chosen_TK;
}

Trial make_trial(const ExpertShape& shape) {
  const at::ScalarType master = shape.type == at::kDouble ? at::kDouble : at::kFloat;
  Trial trial;
  const Tensor chosen_TK = random_choice(shape);
  const auto weights_TE =
      at::zeros({shape.tokens, shape.experts}, master).scatter_(1, chosen_TK, 0.5);
  trial.experts = {
      .lora_A = random_tensor({shape.experts, shape.lora_rank, shape.inputs}, master, 2),
      .lora_B = random_tensor({shape.experts, shape.lora_rank, shape.outputs}, master, 3),
      .weights_TE = weights_TE,
      .rows = rows_by_expert(chosen_TK, shape.experts)};
  trial.x_TD = random_tensor({shape.tokens, shape.inputs}, shape.type, 4);
  trial.d_out_TO = random_tensor({shape.tokens, shape.outputs}, shape.type, 5);
  trial.out_TO = at::zeros_like(trial.d_out_TO);
  trial.d_x_TD = at::zeros_like(trial.x_TD);
  return trial;
}

void run_grouped(const Trial& trial) {
  const Tensor u_Pr = add_grouped_experts(trial.experts, trial.x_TD, trial.out_TO);
  grouped_gradients(trial.experts, trial.x_TD, u_Pr, trial.d_out_TO, trial.d_x_TD);
}

// The products of model/bottleneck.h and of their backward pass.
void run_dense(const Trial& trial) {
  const GroupedExperts& experts = trial.experts;
  const at::ScalarType type = trial.x_TD.scalar_type();
  const Tensor a_RD = experts.lora_A.flatten(0, 1).to(type);
  const Tensor b_RO = experts.lora_B.flatten(0, 1).to(type);
  const Tensor gates_TE1 = (experts.weights_TE * experts.scale).to(type).unsqueeze(2);
  const auto by_expert = [&](const Tensor& of_TR) {
    return of_TR.unflatten(1, {experts.lora_A.size(0), experts.lora_A.size(1)});
  };
  const Tensor u_TR = at::mm(trial.x_TD, a_RD.t());
  const Tensor h_TR = (by_expert(u_TR) * gates_TE1).flatten(1);
  at::addmm_out(const_cast<Tensor&>(trial.out_TO), trial.out_TO, h_TR, b_RO);
  const Tensor d_h_TR = at::mm(trial.d_out_TO, b_RO.t());
  const Tensor d_u_TR = (by_expert(d_h_TR) * gates_TE1).flatten(1);
  (void)(by_expert(u_TR) * by_expert(d_h_TR)).sum(2);
  (void)at::mm(h_TR.t(), trial.d_out_TO).to(experts.lora_B.scalar_type());
  (void)at::mm(d_u_TR.t(), trial.x_TD).to(experts.lora_A.scalar_type());
  at::addmm_out(const_cast<Tensor&>(trial.d_x_TD), trial.d_x_TD, d_u_TR, a_RD);
}

double seconds_of(const std::function<void()>& run) {
  const auto begin = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Linears of the same shape are measured once.
struct ShapeOfLinears {
  ExpertShape shape;
  std::vector<LinearKind> kinds;
};

std::vector<ShapeOfLinears> shapes_of(const AdapterSet& adapters, const ExpertChoiceRequest& by) {
  std::vector<ShapeOfLinears> shapes;
  for (const LinearKind kind : routed_kinds(adapters)) {
    const ExpertShape shape = expert_shape(*adapters.find(0, kind), by.tokens, by.type);
    const auto found = std::find_if(shapes.begin(), shapes.end(),
                                    [&](const auto& other) { return other.shape == shape; });
    if (found == shapes.end()) {
      shapes.push_back({shape, {kind}});
    } else {
      found->kinds.push_back(kind);
    }
  }
  return shapes;
}

// Why there is no choice; empty when there is one.
std::string obstacle(const AdapterSpec& spec, at::Device device) {
  if (!device.is_cpu()) return "on GPUs grouping would make the host wait";
  if (spec.experts_per_token == spec.num_experts) return "every token uses every expert";
  return {};
}

struct OneChoice {
  ExpertWay way;
  std::string reason;
};

OneChoice measured_choice(const ExpertShape& shape, double seconds) {
  const ExpertTimes times = measure_experts(shape, seconds);
  const ExpertWay way = faster_way(times);
  const bool is_grouped = way == ExpertWay::kGrouped;
  return {way, fmt::format("E={}: {:.1f} ms against {:.1f} ms", shape.experts,
                           1e3 * (is_grouped ? times.grouped_seconds : times.dense_seconds),
                           1e3 * (is_grouped ? times.dense_seconds : times.grouped_seconds))};
}

// Of experts that are whole MLPs.
OneChoice block_choice(const ExpertChoiceRequest& request) {
  if (!request.device.is_cpu())
    return {ExpertWay::kDense, "on GPUs grouping would make the host wait"};
  if (request.asked == AdapterConfig::dense) return {ExpertWay::kDense, "as asked for"};
  return {ExpertWay::kGrouped, "each is a whole MLP"};
}

OneChoice choose(const AdapterSpec& spec, const ShapeOfLinears& linears,
                 const ExpertChoiceRequest& request, double seconds) {
  if (spec.is_of_block()) return block_choice(request);
  if (std::string why = obstacle(spec, request.device); !why.empty()) {
    return {ExpertWay::kDense, why};
  }
  if (request.asked == AdapterConfig::dense) return {ExpertWay::kDense, "as asked for"};
  if (request.asked == AdapterConfig::grouped) return {ExpertWay::kGrouped, "as asked for"};
  if (request.saved) {
    return {request.saved->of(linears.kinds.front()), "as the checkpoint has it"};
  }
  return measured_choice(linears.shape, seconds);
}

}  // namespace

ExpertShape expert_shape(const LinearAdapter& adapter, int64_t tokens, at::ScalarType type) {
  const AdapterSpec& spec = adapter.spec;
  ExpertShape shape = {.tokens = tokens,
                       .inputs = adapter.lora_A.size(2),
                       .outputs = adapter.lora_B.size(2),
                       .experts = spec.num_experts,
                       .per_token = spec.experts_per_token,
                       .lora_rank = spec.lora_rank,
                       .type = type};
  if (adapter.place.mode == ExchangeMode::kTokens) {
    // Rows arrive from all ranks of the group, each for a share of its experts.
    shape.experts = adapter.place.experts.length;
    shape.per_token =
        std::max<int64_t>(1, spec.experts_per_token * shape.experts / spec.num_experts);
  }
  return shape;
}

ExpertTimes measure_experts(const ExpertShape& shape, double seconds) {
  const at::NoGradGuard no_grad;
  const double flops_of_token = 6.0 * static_cast<double>(shape.experts * shape.lora_rank) *
                                static_cast<double>(shape.inputs + shape.outputs);
  const double affordable = seconds * kFlopsPerSecond / flops_of_token / (2 * (kRepeats + 1));
  ExpertShape of = shape;
  of.tokens = std::min(shape.tokens, std::max(kFewestTokens, static_cast<int64_t>(affordable)));
  const Trial trial = make_trial(of);
  run_dense(trial);  // once without counting: memory and code are new
  run_grouped(trial);
  std::vector<double> dense;
  std::vector<double> grouped;
  for (int i = 0; i < kRepeats; ++i) {
    dense.push_back(seconds_of([&] { run_dense(trial); }));
    grouped.push_back(seconds_of([&] { run_grouped(trial); }));
  }
  return {median(dense), median(grouped)};
}

ExpertWay faster_way(const ExpertTimes& times) {
  return times.grouped_seconds < times.dense_seconds ? ExpertWay::kGrouped : ExpertWay::kDense;
}

std::vector<LinearKind> routed_kinds(const AdapterSet& adapters) {
  std::vector<LinearKind> kinds;
  for (const LinearKind kind : kLinearKinds) {
    const LinearAdapter* adapter = adapters.find(0, kind);
    if (adapter != nullptr && adapter->spec.has_router()) kinds.push_back(kind);
  }
  return kinds;
}

ExpertChoice choose_expert_ways(const AdapterSet& adapters, const ExpertChoiceRequest& request) {
  if (request.asked == AdapterConfig::grouped && !request.device.is_cpu()) {
    throw ConfigError(
        "adapter.expert_compute is grouped, which runs on CPUs only; with device.kind cuda take "
        "auto or dense");
  }
  const std::vector<ShapeOfLinears> shapes = shapes_of(adapters, request);
  const double seconds = request.seconds / static_cast<double>(std::max<size_t>(1, shapes.size()));
  ExpertChoice choice;
  for (const ShapeOfLinears& linears : shapes) {
    const AdapterSpec& spec = adapters.find(0, linears.kinds.front())->spec;
    const OneChoice one = choose(spec, linears, request, seconds);
    std::string names;
    for (const LinearKind kind : linears.kinds) {
      choice.ways.of(kind) = one.way;
      names += fmt::format("{}{}", names.empty() ? "" : ", ", linear_name(kind));
    }
    choice.reasons.push_back(
        fmt::format("experts of {}: {} ({})", names, expert_way_name(one.way), one.reason));
  }
  return choice;
}

}  // namespace molora
