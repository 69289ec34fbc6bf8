#include "plan/choose_exchange.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"
#include "base/unit_text.h"
#include "config/adapter_family.h"

namespace molora {

namespace {

// The simplest first: it wins when times are equal.
constexpr std::array<ExchangeMode, 4> kPreference = {ExchangeMode::kReplicate, ExchangeMode::kRank,
                                                     ExchangeMode::kGather, ExchangeMode::kTokens};

struct Candidate {
  ExchangeMode mode = ExchangeMode::kReplicate;
  double seconds = 0;
  double memory = 0;  // of the group
};

// One candidate of each group.
struct Combination {
  std::array<size_t, kNumLinearGroups> chosen{};
  double seconds = 0;
  double memory = 0;
};

bool has_experts(const PlanInput& input, LinearGroup group) {
  const auto linears = group_linears(input, group);
  return std::any_of(linears.begin(), linears.end(),
                     [](const PlannedLinear& linear) { return linear.has_experts(); });
}

std::vector<Candidate> candidates_of(const PlanInput& input, LinearGroup group,
                                     const ChoiceRequest& request) {
  const auto asked = request.asked.at(static_cast<size_t>(group));
  std::vector<Candidate> candidates;
  for (const ExchangeMode mode : kPreference) {
    const bool is_wanted = !has_experts(input, group) ? mode == ExchangeMode::kReplicate
                           : asked                    ? mode == *asked
                                                      : mode_obstacle(input, group, mode).empty();
    if (!is_wanted) continue;
    candidates.push_back({mode, group_cost(input, group, mode, request.speeds).time.total(),
                          group_memory(input, group, mode).total()});
  }
  return candidates;
}

using CandidatesByGroup = std::array<std::vector<Candidate>, kNumLinearGroups>;

// Calls visit with every combination, the preferred modes first.
template <typename Visit>
void for_each_combination(const CandidatesByGroup& candidates, double base_memory,
                          const Visit& visit) {
  size_t count = 1;
  for (const auto& of_group : candidates) count *= of_group.size();
  for (size_t number = 0; number < count; ++number) {
    Combination combination{.memory = base_memory};
    size_t rest = number;
    for (size_t group = 0; group < candidates.size(); ++group) {
      const auto& of_group = candidates.at(group);
      combination.chosen.at(group) = rest % of_group.size();
      rest /= of_group.size();
      combination.seconds += of_group.at(combination.chosen.at(group)).seconds;
      combination.memory += of_group.at(combination.chosen.at(group)).memory;
    }
    visit(combination);
  }
}

// The fastest that fits, else the one that needs least memory.
Combination best_combination(const CandidatesByGroup& candidates, double base_memory,
                             double memory_limit) {
  std::optional<Combination> best;
  const auto fits = [&](const Combination& one) {
    return memory_limit == 0 || one.memory <= memory_limit;
  };
  for_each_combination(candidates, base_memory, [&](const Combination& one) {
    const bool is_better = !best || (fits(one) != fits(*best) ? fits(one)
                                     : fits(one)              ? one.seconds < best->seconds
                                                              : one.memory < best->memory);
    if (is_better) best = one;
  });
  MOLORA_CHECK(best.has_value());
  return *best;
}

std::string obstacles_text(const PlanInput& input, LinearGroup group) {
  std::string text;
  for (const ExchangeMode mode : kPreference) {
    const std::string obstacle = mode_obstacle(input, group, mode);
    if (obstacle.empty()) continue;
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", exchange_mode_name(mode), obstacle);
  }
  return text;
}

// `chosen` of several candidates.
std::string comparison_text(const std::vector<Candidate>& candidates, const Candidate& chosen,
                            double memory_limit, bool is_limit_kept) {
  std::vector<std::string> others;
  bool is_fastest = true;
  for (const Candidate& other : candidates) {
    if (other.mode == chosen.mode) continue;
    is_fastest = is_fastest && chosen.seconds <= other.seconds;
    others.push_back(
        fmt::format("{} {}", exchange_mode_name(other.mode), seconds_text(other.seconds)));
  }
  const std::string limit = fmt::format("the memory limit of {:.3g} GiB", memory_limit / (1 << 30));
  const std::string what = !is_limit_kept ? "least memory, as nothing keeps " + limit
                           : is_fastest   ? "fastest"
                                          : "fastest that keeps " + limit;
  return fmt::format("{}: {} a step, against {}", what, seconds_text(chosen.seconds),
                     fmt::join(others, ", "));
}

std::string reason_of(const PlanInput& input, LinearGroup group,
                      const std::vector<Candidate>& candidates, const Combination& best,
                      const ChoiceRequest& request) {
  const auto linears = group_linears(input, group);
  if (!has_experts(input, group)) {
    const bool is_trained =
        std::any_of(linears.begin(), linears.end(),
                    [](const PlannedLinear& linear) { return linear.is_adapted(); });
    return is_trained ? "plain LoRA is always replicated" : "frozen, nothing to place";
  }
  if (request.asked.at(static_cast<size_t>(group))) return "as the configuration asks";
  if (candidates.size() == 1) return "nothing else to choose: " + obstacles_text(input, group);
  const bool is_limit_kept = request.memory_limit == 0 || best.memory <= request.memory_limit;
  return comparison_text(candidates, candidates.at(best.chosen.at(static_cast<size_t>(group))),
                         request.memory_limit, is_limit_kept);
}

}  // namespace

std::string mode_obstacle(const PlanInput& input, LinearGroup group, ExchangeMode mode) {
  if (mode == ExchangeMode::kReplicate) return {};
  if (input.adapter.router().heads() > 1) return "heads lie with the linear's own columns";
  const bool is_rank = mode == ExchangeMode::kRank;
  for (const PlannedLinear& linear : group_linears(input, group)) {
    if (!linear.spec.is_of_block() || mode == ExchangeMode::kGather) continue;
    return "experts that are whole MLPs (adapter.router.scope: block) are not exchanged so";
  }
  const int size = is_rank ? input.mesh.tp : input.mesh.ep;
  if (size == 1) return fmt::format("{} is 1", is_rank ? "tensor_parallel" : "expert_parallel");
  for (const PlannedLinear& linear : group_linears(input, group)) {
    if (!linear.has_experts()) continue;
    for (const int64_t count : expert_counts(input.adapter)) {
      if (count % size != 0) return fmt::format("{} experts cannot be split in {}", count, size);
    }
  }
  return {};
}

ExchangeChoice choose_exchange(const PlanInput& input, const ChoiceRequest& request) {
  CandidatesByGroup candidates;
  for (const LinearGroup group : kLinearGroups) {
    candidates.at(static_cast<size_t>(group)) = candidates_of(input, group, request);
  }
  const auto base = static_cast<double>(base_slice_parameters(input) * input.activation_bytes);
  const Combination best = best_combination(candidates, base, request.memory_limit);
  ExchangeChoice choice;
  for (const LinearGroup group : kLinearGroups) {
    const auto index = static_cast<size_t>(group);
    choice.modes.by_group.at(index) = candidates.at(index).at(best.chosen.at(index)).mode;
    choice.reasons.at(index) = reason_of(input, group, candidates.at(index), best, request);
  }
  return choice;
}

}  // namespace molora
