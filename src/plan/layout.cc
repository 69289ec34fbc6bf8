#include "plan/layout.h"

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"
#include "base/divisors.h"
#include "base/error.h"
#include "config/adapter_family.h"
#include "config/group_exchange.h"
#include "model/adapter_placement.h"

namespace molora {

namespace {

// One thing that a size must agree with.
struct Condition {
  std::function<bool(int64_t size)> holds;
  std::string otherwise;  // "32 attention heads cannot be split in {}", {} is the size
};

Condition splits(int64_t number, const char* things) {
  return {[number](int64_t size) { return number % size == 0; },
          fmt::format("{} {} cannot be split in {{}}", number, things)};
}

Condition shares_ranks(int world) {
  return {[world](int64_t size) { return world % size == 0; },
          fmt::format("{} rank{} cannot be shared out in groups of {{}}", world,
                      world == 1 ? "" : "s")};
}

bool any_group_asks(const ParallelConfig& parallel, const AdapterConfig& adapter,
                    std::initializer_list<ExchangeMode> modes) {
  const auto asked = asked_modes(parallel, adapter);
  const auto groups = asked_exchanges(parallel, adapter.targets());
  for (size_t i = 0; i < asked.size(); ++i) {
    if (groups[i].has_experts && asked[i] &&
        std::find(modes.begin(), modes.end(), *asked[i]) != modes.end()) {
      return true;
    }
  }
  return false;
}

// Of every layer.
void add_expert_splits(const AdapterConfig& adapter, const char* what,
                       std::vector<Condition>& conditions) {
  for (const int64_t count : expert_counts(adapter)) conditions.push_back(splits(count, what));
}

std::vector<Condition> tensor_conditions(const ParallelConfig& parallel,
                                         const AdapterConfig& adapter, const Architecture& model,
                                         int world) {
  const int64_t kv = model.num_kv_heads;
  std::vector<Condition> conditions = {
      shares_ranks(world),
      splits(model.num_heads, "attention heads"),
      {[kv](int64_t size) { return kv % size == 0 || size % kv == 0; },
       fmt::format("{} key-value heads can neither be split in {{}} nor each be held by equally "
                   "many of {{}} ranks",
                   kv)},
      splits(model.intermediate_size, "columns of the MLP (intermediate_size)")};
  if (any_group_asks(parallel, adapter, {ExchangeMode::kRank}))
    add_expert_splits(adapter, "experts (exchange: rank)", conditions);
  return conditions;
}

// Of routers with heads: sizes that heads do not divide, or nothing.
std::string head_fault(const AdapterConfig& adapter, const Architecture& model, int64_t tp) {
  const int64_t heads = adapter.router().heads();
  if (heads == 1) return {};
  for (const LinearKind kind : kLinearKinds) {
    if (adapter_spec(adapter, kind, 0).kind != TargetsConfig::experts) continue;
    const LinearSize size = linear_size(model, kind);
    for (const int64_t width : {size.in, size.out}) {
      if (width % heads == 0) continue;
      return fmt::format("adapter.router.heads: {} cannot cut the {} columns of {}", heads, width,
                         linear_name(kind));
    }
    const bool is_kv = kind == LinearKind::kK || kind == LinearKind::kV;
    if (heads % tp != 0 || (is_kv && model.num_kv_heads % tp != 0)) {
      return fmt::format(
          "adapter.router.heads: the {} heads of {} cannot be shared out over tensor_parallel {}: "
          "use a divisor of heads{}",
          heads, linear_name(kind), tp, is_kv ? " and of the key-value heads" : "");
    }
  }
  return {};
}

std::vector<Condition> expert_conditions(const ParallelConfig& parallel,
                                         const AdapterConfig& adapter, int world) {
  std::vector<Condition> conditions = {shares_ranks(world)};
  if (any_group_asks(parallel, adapter, {ExchangeMode::kTokens, ExchangeMode::kGather}))
    add_expert_splits(adapter, "experts (exchange: tokens or gather)", conditions);
  return conditions;
}

// "tensor_parallel 3: 4 ranks cannot be ..., and 32 attention heads ...; 1, 2 or 4 would work", or
// nothing when all conditions hold.
std::string size_fault(const char* field, int64_t size, const std::vector<Condition>& conditions,
                       int world) {
  std::vector<std::string> broken;
  for (const Condition& condition : conditions) {
    if (condition.holds(size)) continue;
    broken.push_back(fmt::format(fmt::runtime(condition.otherwise), size, size));
  }
  if (broken.empty()) return {};
  std::vector<int64_t> working;
  for (const int64_t candidate : divisors(world)) {
    if (std::all_of(conditions.begin(), conditions.end(),
                    [&](const Condition& condition) { return condition.holds(candidate); })) {
      working.push_back(candidate);
    }
  }
  return fmt::format("\n  parallel.{} {}: {}; {} would work", field, size,
                     fmt::join(broken, ", and "), alternatives(working));
}

std::optional<ExchangeMode> mode_of(GroupExchangeConfig::GroupExchange asked) {
  switch (asked) {
    case GroupExchangeConfig::inherit:
    case GroupExchangeConfig::auto_:
      return std::nullopt;
    case GroupExchangeConfig::tokens:
      return ExchangeMode::kTokens;
    case GroupExchangeConfig::rank:
      return ExchangeMode::kRank;
    case GroupExchangeConfig::gather:
      return ExchangeMode::kGather;
    case GroupExchangeConfig::replicate:
      return ExchangeMode::kReplicate;
  }
  return std::nullopt;
}

}  // namespace

std::array<std::optional<ExchangeMode>, kNumLinearGroups> asked_modes(
    const ParallelConfig& parallel, const AdapterConfig& adapter) {
  std::array<std::optional<ExchangeMode>, kNumLinearGroups> modes;
  const auto groups = asked_exchanges(parallel, adapter.targets());
  for (size_t i = 0; i < groups.size(); ++i) {
    modes.at(i) = groups.at(i).has_experts ? mode_of(groups.at(i).mode) : ExchangeMode::kReplicate;
  }
  return modes;
}

MeshShape check_layout(const ParallelConfig& parallel, const AdapterConfig& adapter,
                       const Architecture& architecture, int world) {
  MOLORA_CHECK(world >= 1, "{} ranks", world);
  const int64_t tp = parallel.tensor_parallel();
  const int64_t ep = parallel.expert_parallel();
  const std::string list_fault = layer_list_fault(adapter, architecture.num_layers);
  if (!list_fault.empty()) throw ConfigError(list_fault);
  const std::string head_text = head_fault(adapter, architecture, tp);
  if (!head_text.empty()) throw ConfigError(head_text);
  const std::string faults =
      size_fault("tensor_parallel", tp, tensor_conditions(parallel, adapter, architecture, world),
                 world) +
      size_fault("expert_parallel", ep, expert_conditions(parallel, adapter, world), world);
  if (!faults.empty()) {
    throw ConfigError(fmt::format("this model cannot be laid out on {} rank{} as asked:{}", world,
                                  world == 1 ? "" : "s", faults));
  }
  const int64_t kv = architecture.num_kv_heads;
  return mesh_shape(world, static_cast<int>(tp), static_cast<int>(ep),
                    tp > kv ? static_cast<int>(tp / kv) : 1);
}

}  // namespace molora
