#include "plan/layout_search.h"

#include <algorithm>
#include <functional>
#include <tuple>

#include <fmt/format.h>

#include "base/divisors.h"
#include "base/error.h"
#include "base/unit_text.h"
#include "config/adapter_family.h"
#include "plan/choose_exchange.h"
#include "plan/layout.h"

namespace molora {

namespace {

constexpr int64_t kMostMicroBatch = 64;  // rows; more bring nothing
constexpr size_t kNumShown = 4;

// One mode of one group, or of several groups together.
struct ModesForecast {
  ExchangeModes modes;
  TermSeconds seconds;
};

// Every combination of the groups' modes that are possible, fastest first.
std::vector<ModesForecast> adapter_choices(const SearchRequest& request, const PlanInput& input,
                                           const MachineModel& machine) {
  const auto asked = asked_modes(request.config.parallel(), request.config.adapter());
  std::vector<ModesForecast> all(1);
  for (const LinearGroup group : kLinearGroups) {
    const auto index = static_cast<size_t>(group);
    std::vector<ModesForecast> more;
    for (const ExchangeMode mode : {ExchangeMode::kReplicate, ExchangeMode::kRank,
                                    ExchangeMode::kGather, ExchangeMode::kTokens}) {
      if (asked.at(index) ? mode != *asked.at(index) : !mode_obstacle(input, group, mode).empty())
        continue;
      const TermSeconds seconds = adapter_forecast(input, group, mode, machine);
      for (ModesForecast choice : all) {
        choice.modes.by_group.at(index) = mode;
        choice.seconds += seconds;
        more.push_back(choice);
      }
    }
    all = std::move(more);
  }
  std::stable_sort(all.begin(), all.end(), [](const ModesForecast& a, const ModesForecast& b) {
    return a.seconds.total() < b.seconds.total();
  });
  return all;
}

bool uses_expert_axis(const ExchangeModes& modes) {
  return std::any_of(modes.by_group.begin(), modes.by_group.end(), [](ExchangeMode mode) {
    return mode == ExchangeMode::kTokens || mode == ExchangeMode::kGather;
  });
}

// The configuration's own layout, with the fastest exchange that fits, else the leanest.
LayoutForecast forecast(const SearchRequest& request, const MeshShape& mesh,
                        const MachineModel& machine) {
  LayoutForecast layout;
  layout.input = plan_input(request.config, request.architecture, mesh);
  layout.input.is_gpu = request.is_gpu;
  layout.micro_batch =
      layout.input.tokens / mesh.dp / std::max<int64_t>(1, layout.input.row_tokens);
  const TermSeconds base = base_forecast(layout.input, machine);
  std::optional<ModesForecast> chosen;
  for (const ModesForecast& choice : adapter_choices(request, layout.input, machine)) {
    const RankMemory memory = peak_memory(layout.input, choice.modes);
    const bool fits = memory.total() <= machine.memory_bytes();
    if (chosen && !fits && memory.total() >= layout.memory.total()) continue;
    chosen = choice;
    layout.memory = memory;
    layout.fits = fits;
    if (fits) break;
  }
  layout.modes = chosen->modes;
  layout.seconds = base;
  layout.seconds += chosen->seconds;
  layout.seconds[TimeTerm::kHost] = host_seconds(layout.input, layout.seconds, machine);
  layout.tokens_per_second =
      product(request.config.train().global_batch_size(), layout.input.row_tokens) /
      layout.seconds.total();
  return layout;
}

std::optional<MeshShape> mesh_of(const SearchRequest& request) {
  try {
    return check_layout(request.config.parallel(), request.config.adapter(), request.architecture,
                        request.num_gpus);
  } catch (const ConfigError&) {
    return std::nullopt;
  }
}

auto layout_key(const LayoutForecast& of) {
  return std::tuple(of.input.mesh.tp, of.input.mesh.ep, of.input.is_sequence_parallel,
                    of.input.recompute, of.modes.by_group);
}

// Keeps the fastest of each layout.
class Fastest {
 public:
  void add(const LayoutForecast& layout) {
    for (LayoutForecast& other : layouts_) {
      if (layout_key(other) != layout_key(layout)) continue;
      if (layout.tokens_per_second > other.tokens_per_second) other = layout;
      return;
    }
    layouts_.push_back(layout);
  }
  std::vector<LayoutForecast> take() {
    std::stable_sort(layouts_.begin(), layouts_.end(), [](const auto& a, const auto& b) {
      return a.tokens_per_second > b.tokens_per_second;
    });
    if (layouts_.size() > kNumShown) layouts_.resize(kNumShown);
    return std::move(layouts_);
  }

 private:
  std::vector<LayoutForecast> layouts_;
};

// Calls visit with the request of every combination of micro-batch and recomputation.
void for_each_memory_choice(SearchRequest request, const MeshShape& mesh,
                            const std::function<void(const SearchRequest&)>& visit) {
  TrainConfig& train = *request.config.mutable_train();
  const int64_t rows = (int64_t{train.global_batch_size()} + mesh.dp - 1) / mesh.dp;
  for (const TrainConfig::Recompute recompute :
       {TrainConfig::none, TrainConfig::selective, TrainConfig::full}) {
    train.set_activation_checkpointing(recompute);
    for (const int64_t micro_batch : divisors(static_cast<int>(rows))) {
      if (micro_batch > kMostMicroBatch) continue;
      train.set_micro_batch_size(static_cast<uint32_t>(micro_batch));
      visit(request);
    }
  }
}

bool splits_experts(const AdapterConfig& adapter, int64_t ep) {
  const std::vector<int64_t> counts = expert_counts(adapter);
  return std::all_of(counts.begin(), counts.end(), [&](int64_t count) { return count % ep == 0; });
}

// Calls visit with the request and mesh of every layout that is possible.
void for_each_layout(const SearchRequest& request,
                     const std::function<void(const SearchRequest&, const MeshShape&)>& visit) {
  SearchRequest one = request;
  ParallelConfig& parallel = *one.config.mutable_parallel();
  for (const int64_t tp : divisors(request.num_gpus)) {
    parallel.set_tensor_parallel(static_cast<uint32_t>(tp));
    for (const int64_t ep : divisors(request.num_gpus)) {
      if (!splits_experts(request.config.adapter(), ep)) continue;
      parallel.set_expert_parallel(static_cast<uint32_t>(ep));
      const std::optional<MeshShape> mesh = mesh_of(one);
      if (!mesh) continue;
      for (const bool is_sequence_parallel : {false, true}) {
        if (is_sequence_parallel && tp == 1) continue;
        parallel.set_sequence_parallel(is_sequence_parallel);
        for_each_memory_choice(one, *mesh,
                               [&](const SearchRequest& chosen) { visit(chosen, *mesh); });
      }
    }
  }
}

const char* recompute_name(TrainConfig::Recompute recompute) {
  return recompute == TrainConfig::full        ? "full"
         : recompute == TrainConfig::selective ? "selective"
                                               : "none";
}

}  // namespace

std::optional<LayoutForecast> forecast_as_written(const SearchRequest& request,
                                                  const MachineModel& machine) {
  const std::optional<MeshShape> mesh = mesh_of(request);
  if (!mesh) return std::nullopt;
  return forecast(request, *mesh, machine);
}

SearchResult search_layouts(const SearchRequest& request, const MachineModel& machine) {
  SearchResult result;
  Fastest fastest;
  for_each_layout(request, [&](const SearchRequest& chosen, const MeshShape& mesh) {
    const LayoutForecast layout = forecast(chosen, mesh, machine);
    // An expert axis that nothing uses is the same layout without it.
    if (mesh.ep > 1 && !uses_expert_axis(layout.modes)) return;
    ++result.num_tried;
    if (layout.fits) {
      fastest.add(layout);
    } else if (!result.leanest || layout.memory.total() < result.leanest->memory.total()) {
      result.leanest = layout;
    }
  });
  result.fitting = fastest.take();
  if (!result.fitting.empty()) result.leanest.reset();
  if (result.num_tried > 0) return result;
  SearchRequest alone = request;
  alone.config.mutable_parallel()->set_tensor_parallel(1);
  alone.config.mutable_parallel()->set_expert_parallel(1);
  check_layout(alone.config.parallel(), alone.config.adapter(), alone.architecture, alone.num_gpus);
  throw ConfigError(
      fmt::format("no layout of this model on {} GPUs is possible with the exchange that "
                  "parallel.exchange asks for; leave it to auto",
                  request.num_gpus));
}

std::string reason_to_lose(const LayoutForecast& best, const LayoutForecast& other) {
  TimeTerm worst = TimeTerm::kBase;
  double most = 0;
  for (size_t i = 0; i < kNumTimeTerms; ++i) {
    const auto term = static_cast<TimeTerm>(i);
    const double difference = other.seconds[term] - best.seconds[term];
    if (difference <= most) continue;
    most = difference;
    worst = term;
  }
  if (most == 0) return "as fast, and no simpler";
  return fmt::format("{} {} a step, against {}", time_term_name(worst),
                     seconds_text(other.seconds[worst]), seconds_text(best.seconds[worst]));
}

namespace {

using Fits = std::function<bool(const std::function<void(SearchRequest&)>&)>;

// What keeps the base or the moments in less memory, each by itself, as far as it makes it fit.
void add_smaller_storage(const SearchRequest& request, const Fits& fits,
                         std::vector<std::string>& found) {
  for (const auto& smaller :
       {std::pair(ModelConfig::int8, "int8"), std::pair(ModelConfig::nf4, "nf4")}) {
    if (smaller.first <= request.config.model().quantization()) continue;
    const auto use = [&](auto& of) { of.config.mutable_model()->set_quantization(smaller.first); };
    if (!fits(use)) continue;
    found.push_back(fmt::format("model.quantization: {}", smaller.second));
    break;
  }
  if (!request.config.train().offload_optimizer() &&
      fits([&](auto& of) { of.config.mutable_train()->set_offload_optimizer(true); })) {
    found.emplace_back("train.offload_optimizer: true");
  }
}

}  // namespace

std::vector<std::string> changes_that_fit(const SearchRequest& request,
                                          const MachineModel& machine) {
  std::vector<std::string> changes;
  const auto fits = [&](const std::function<void(SearchRequest&)>& change) {
    SearchRequest changed = request;
    change(changed);
    const auto layout = forecast_as_written(changed, machine);
    return layout && layout->fits;
  };
  const TrainConfig& train = request.config.train();
  for (uint32_t rows = train.micro_batch_size() / 2; rows >= 1; rows /= 2) {
    if (!fits([&](auto& of) { of.config.mutable_train()->set_micro_batch_size(rows); })) continue;
    changes.push_back(fmt::format("train.micro_batch_size: {}", rows));
    break;
  }
  for (const auto recompute : {TrainConfig::selective, TrainConfig::full}) {
    if (recompute <= train.activation_checkpointing()) continue;
    if (!fits(
            [&](auto& of) { of.config.mutable_train()->set_activation_checkpointing(recompute); }))
      continue;
    changes.push_back(fmt::format("train.activation_checkpointing: {}", recompute_name(recompute)));
    break;
  }
  const int64_t tp = request.config.parallel().tensor_parallel();
  for (const int64_t wider : divisors(request.num_gpus)) {
    if (wider <= tp) continue;
    if (!fits([&](auto& of) {
          of.config.mutable_parallel()->set_tensor_parallel(static_cast<uint32_t>(wider));
        }))
      continue;
    changes.push_back(fmt::format("parallel.tensor_parallel: {}", wider));
    break;
  }
  add_smaller_storage(request, fits, changes);
  return changes;
}

std::vector<std::string> remedies(const SearchRequest& request, const MachineModel& machine) {
  std::vector<std::string> found;
  const auto fits = [&](const std::function<void(SearchRequest&)>& change) {
    SearchRequest changed = request;
    change(changed);
    return !search_layouts(changed, machine).fitting.empty();
  };
  add_smaller_storage(request, fits, found);
  constexpr int kMostGpus = 4096;
  for (int gpus = 2 * request.num_gpus; gpus <= std::min(kMostGpus, 64 * request.num_gpus);
       gpus *= 2) {
    if (machine.most_ranks() > 0 && gpus > machine.most_ranks()) break;
    if (!fits([&](auto& of) { of.num_gpus = gpus; })) continue;
    found.push_back(fmt::format("--gpus {}", gpus));
    break;
  }
  return found;
}

std::string layout_yaml(const LayoutForecast& layout) {
  const PlanInput& input = layout.input;
  std::string groups;
  bool is_one_mode = true;
  std::optional<ExchangeMode> mode_of_all;
  for (const LinearGroup group : kLinearGroups) {
    const auto linears = group_linears(input, group);
    if (std::none_of(linears.begin(), linears.end(),
                     [](const PlannedLinear& linear) { return linear.has_experts(); }))
      continue;
    const ExchangeMode mode = layout.modes.of(group);
    is_one_mode = is_one_mode && (!mode_of_all || *mode_of_all == mode);
    mode_of_all = mode;
    groups += fmt::format("{}{}: {}", groups.empty() ? "" : ", ", linear_group_name(group),
                          exchange_mode_name(mode));
  }
  std::string text = fmt::format(
      "parallel:\n  tensor_parallel: {}\n  expert_parallel: {}\n  sequence_parallel: {}\n",
      input.mesh.tp, input.mesh.ep, input.is_sequence_parallel);
  if (mode_of_all) {
    text += is_one_mode ? fmt::format("  exchange: {}\n", exchange_mode_name(*mode_of_all))
                        : fmt::format("  exchange_by_group: {{{}}}\n", groups);
  }
  return text + fmt::format("train:\n  micro_batch_size: {}\n  activation_checkpointing: {}\n",
                            layout.micro_batch, recompute_name(input.recompute));
}

}  // namespace molora
