#include "config/cross_checks.h"

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/divisors.h"
#include "config/adapter_family.h"
#include "config/group_exchange.h"
#include "config/schema.h"

namespace molora {

namespace {

bool any_target(const TargetsConfig& targets, TargetsConfig::Kind kind) {
  const google::protobuf::Reflection& reflection = *targets.GetReflection();
  const Descriptor& type = *targets.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    if (reflection.GetEnumValue(targets, type.field(i)) == kind) return true;
  }
  return false;
}

// A number of experts for each token that the configuration says.
bool has_fixed_choice(const RouterConfig& router) {
  return router.gate() != RouterConfig::dense_softmax && router.gate() != RouterConfig::threshold &&
         router.gate() != RouterConfig::top_p;
}

bool has_experts(const RunConfig& config) {
  return any_target(config.adapter().targets(), TargetsConfig::experts);
}

class FieldPairs {
 public:
  FieldPairs(const RunConfig& config, const FieldPlaces& places, Faults& faults)
      : config_(config), places_(places), faults_(faults) {}

  void check_experts_per_token() {
    constexpr std::string_view kChosen = "adapter.experts_per_token";
    constexpr std::string_view kExperts = "adapter.num_experts";
    const AdapterConfig& adapter = config_.adapter();
    if (are_faulty({kChosen, kExperts, "adapter.router.gate"})) return;
    if (!has_fixed_choice(adapter.router())) return;
    if (adapter.num_experts_by_layer_size() > 0 || adapter.experts_per_token_by_layer_size() > 0) {
      return check_lists_by_layer();
    }
    if (adapter.experts_per_token() <= adapter.num_experts()) return;
    add(places_.is_set(kChosen) ? kChosen : kExperts,
        fmt::format("expected adapter.experts_per_token of at most adapter.num_experts ({}), got {}"
                    "{}",
                    adapter.num_experts(), adapter.experts_per_token(),
                    places_.is_set(kChosen) ? "" : ", its default; set it too"));
  }

  // The lists agree with each other; with the model they are compared when it is known.
  void check_lists_by_layer() {
    const AdapterConfig& adapter = config_.adapter();
    const auto& experts = adapter.num_experts_by_layer();
    const auto& chosen = adapter.experts_per_token_by_layer();
    const int layers = std::max(experts.size(), chosen.size());
    if (!experts.empty() && !chosen.empty() && experts.size() != chosen.size()) {
      return add(
          "adapter.experts_per_token_by_layer",
          fmt::format("expected as many numbers as adapter.num_experts_by_layer ({}), got {}",
                      experts.size(), chosen.size()));
    }
    for (int layer = 0; layer < layers; ++layer) {
      const uint32_t of = experts.empty() ? adapter.num_experts() : experts[layer];
      const uint32_t k = chosen.empty() ? adapter.experts_per_token() : chosen[layer];
      if (k >= 1 && k <= of) continue;
      return add(
          chosen.empty() ? "adapter.num_experts_by_layer" : "adapter.experts_per_token_by_layer",
          fmt::format("layer {}: expected 1 to {} experts for each token, got {}", layer, of, k));
    }
  }

  // Fields that mean nothing, or nothing that can be done, beside others.
  void check_family() {
    const AdapterConfig& adapter = config_.adapter();
    const RouterConfig& router = adapter.router();
    for (const uint32_t rank : adapter.lora_rank_by_layer()) {
      check_beside_gate("adapter.lora_rank_by_layer", rank == 0,
                        "expected ranks of at least 1, got 0");
    }
    check_beside_gate(
        "adapter.frozen_experts", adapter.shared_a() && adapter.frozen_experts_size() > 0,
        "an expert cannot keep its values while all share one A (adapter.shared_A); remove one "
        "of the two");
    check_beside_gate("adapter.router.selection",
                      router.selection() != RouterConfig::highest && !has_fixed_choice(router),
                      "has no effect: the gate takes no fixed number of experts; remove it, or use "
                      "topk_softmax");
    check_beside_gate("adapter.router.bias_update_rate",
                      router.bias_update_rate() != 0.0 && !has_fixed_choice(router),
                      "has no effect: the gate takes no fixed number of experts; remove it, or use "
                      "topk_softmax");
    check_beside_gate(
        "adapter.router.health.action",
        router.health().action() == RouterHealthConfig::bias && !has_fixed_choice(router),
        "bias cannot help with a gate that takes no fixed number of experts; use raise_loss or "
        "revive");
    check_beside_gate(
        "adapter.router.top_p_mass",
        router.gate() != RouterConfig::top_p && router.top_p_mass() != RouterConfig().top_p_mass(),
        "has no effect without adapter.router.gate: top_p; remove it, or set the gate");
    check_beside_gate(
        "adapter.router.threshold_max",
        router.gate() != RouterConfig::threshold && router.threshold_max() != 0.0,
        "has no effect without adapter.router.gate: threshold; remove it, or set the gate");
    check_beside_gate(
        "adapter.router.loss_across_routers",
        router.loss_across_routers() == RouterConfig::concat &&
            adapter.num_experts_by_layer_size() > 0,
        "concat needs as many experts in each router (adapter.num_experts_by_layer); use mean or "
        "sum");
    check_beside_gate(
        "adapter.router.heads", router.heads() != 1 && router.input() == RouterConfig::task,
        "a task has no parts: heads route the parts of a token; remove one of the two");
    check_beside_gate(
        "adapter.router.heads", router.heads() != 1 && router.scope() == RouterConfig::block,
        "heads are of linears with a router each; remove it, or use adapter.router.scope: linear");
    check_beside_gate(
        "adapter.router.tasks", router.input() == RouterConfig::task && router.tasks_size() == 0,
        "expected the names of the tasks, as adapter.router.input: task routes by them");
    check_beside_gate("adapter.router.tasks",
                      router.input() == RouterConfig::token && router.tasks_size() != 0,
                      "has no effect with adapter.router.input: token; remove it");
    check_beside_gate(
        "adapter.router.input",
        router.input() == RouterConfig::task &&
            (router.scope() == RouterConfig::block || router.gate() == RouterConfig::threshold ||
             adapter.num_experts_by_layer_size() > 0),
        "one gate for all linears needs scope linear, as many experts in each layer and another "
        "gate than threshold");
    check_beside_gate(
        "adapter.dora", adapter.dora() && !any_target(adapter.targets(), TargetsConfig::lora),
        "has no effect: no linear in adapter.targets is 'lora'; remove it, or set one");
  }

  // Experts that are whole MLPs.
  void check_block() {
    const AdapterConfig& adapter = config_.adapter();
    const RouterConfig& router = adapter.router();
    if (router.scope() != RouterConfig::block || are_faulty({"adapter.router.scope"})) return;
    if (are_faulty({"adapter.targets"}) || has_faulty_target()) return;
    const TargetsConfig& targets = adapter.targets();
    bool has_block = false;
    for (const auto& [name, kind] :
         {std::pair("gate_proj", targets.gate_proj()), std::pair("up_proj", targets.up_proj()),
          std::pair("down_proj", targets.down_proj())}) {
      has_block = has_block || kind == TargetsConfig::experts;
      if (kind != TargetsConfig::lora) continue;
      add(fmt::format("adapter.targets.{}", name),
          "expected experts or frozen with adapter.router.scope: block, where each expert is a "
          "whole MLP, got lora");
    }
    if (!has_block) {
      return add("adapter.router.scope",
                 "block has no effect: none of gate_proj, up_proj and down_proj in adapter.targets "
                 "is 'experts'; remove it, or set one");
    }
    const auto check = [&](std::string_view name, bool is_asked_for, std::string_view why) {
      if (is_asked_for && !are_faulty({name})) add(name, std::string(why));
    };
    check("adapter.shared_experts", adapter.shared_experts() != 0,
          "with adapter.router.scope: block an expert that every token uses would be the MLP once "
          "more; remove one of the two");
    check("adapter.router.gate", router.gate() == RouterConfig::threshold,
          "with adapter.router.scope: block a token that chooses no expert would have no MLP; use "
          "top_p");
    check("adapter.router.input", router.input() != RouterConfig::token,
          "expected token with adapter.router.scope: block");
    check("adapter.router.heads", router.heads() != 1,
          "expected 1 with adapter.router.scope: block");
    check_block_exchange();
  }

  // Losses and measures that the routers' other settings leave without effect.
  void check_router_losses() {
    const RouterConfig& router = config_.adapter().router();
    check_beside_gate(
        "adapter.router.balance_loss_coef",
        router.gate() == RouterConfig::dense_softmax && router.balance_loss_coef() != 0.0,
        "has no effect: with dense_softmax every token uses every expert, so that all have the "
        "same share; use adapter.router.localized_balance or entropy_loss_coef");
    check_beside_gate(
        "adapter.router.health.action",
        router.gate() == RouterConfig::dense_softmax &&
            router.health().action() == RouterHealthConfig::raise_loss,
        "raise_loss cannot help with dense_softmax, where the balance loss has no effect; use "
        "revive");
    check_beside_gate(
        "adapter.router.health.action",
        router.health().action() != RouterHealthConfig::warn && router.health().window() == 0,
        "has no effect with adapter.router.health.window: 0, which raises no alarms; remove it, "
        "or set a window");
    const LocalizedBalanceConfig& localized = router.localized_balance();
    check_beside_gate(
        "adapter.router.localized_balance.tasks",
        localized.coef() == 0.0 && localized.tasks_size() > 0,
        "has no effect without adapter.router.localized_balance.coef; remove it, or set a "
        "weight");
    check_beside_gate(
        "adapter.router.localized_balance.coef",
        localized.coef() != 0.0 && localized.delta() != 0.0 && localized.tasks_size() == 0,
        "needs to know which tasks prefer the first half of the experts; name them in "
        "adapter.router.localized_balance.tasks, or set delta: 0");
  }

  void check_warmup() {
    const TrainConfig& train = config_.train();
    if (are_faulty({"train.warmup_steps", "train.max_steps"})) return;
    if (train.warmup_steps() == 0 || train.max_steps() == 0) return;
    if (train.warmup_steps() < train.max_steps()) return;
    add("train.warmup_steps", fmt::format("expected less than train.max_steps ({}), got {}",
                                          train.max_steps(), train.warmup_steps()));
  }

  void check_device() {
    if (config_.device().kind() != DeviceConfig::cpu || are_faulty({"device.kind"})) return;
    if (config_.parallel().backend() == BackendKind::nccl) {
      add("parallel.backend", "nccl is of GPUs, and device.kind is cpu; write auto or mpi");
    }
    if (config_.device().deterministic()) {
      add("device.deterministic", "has no effect: device.kind is cpu, which always is; remove it");
    }
  }

  void check_targets() {
    const TargetsConfig& targets = config_.adapter().targets();
    if (are_faulty({"adapter.targets"}) || has_faulty_target()) return;
    if (any_target(targets, TargetsConfig::lora) || has_experts(config_)) return;
    add("adapter.targets",
        "expected lora or experts for at least one linear, got frozen for all: nothing is trained");
  }

  void check_router() {
    const AdapterConfig& adapter = config_.adapter();
    if (are_faulty({"adapter.targets"}) || has_faulty_target() || has_experts(config_)) return;
    const auto check = [&](std::string_view name, bool is_asked_for) {
      if (!is_asked_for || are_faulty({name})) return;
      add(name, "has no effect: no linear in adapter.targets is 'experts'; remove it, or set one");
    };
    check("adapter.router.gate", adapter.router().gate() != RouterConfig().gate());
    check("adapter.router.balance_loss_coef", adapter.router().balance_loss_coef() != 0);
    check("adapter.router.z_loss_coef", adapter.router().z_loss_coef() != 0);
    check("adapter.router.entropy_loss_coef", adapter.router().entropy_loss_coef() != 0);
    check("adapter.router.localized_balance.coef",
          adapter.router().localized_balance().coef() != 0);
    check("adapter.router.bias_update_rate", adapter.router().bias_update_rate() != 0);
    check("adapter.router.health.action",
          adapter.router().health().action() != RouterHealthConfig::warn);
    check("adapter.router.bias", !adapter.router().bias());
    check("adapter.router.init_std", adapter.router().init_std() != 0);
    check("adapter.expert_dropout", adapter.expert_dropout() != 0);
    check("adapter.shared_experts", adapter.shared_experts() != 0);
    check("adapter.shared_A", adapter.shared_a());
    check("adapter.num_experts_by_layer", adapter.num_experts_by_layer_size() != 0);
    check("adapter.experts_per_token_by_layer", adapter.experts_per_token_by_layer_size() != 0);
    check("adapter.lora_rank_by_layer", adapter.lora_rank_by_layer_size() != 0);
    check("adapter.frozen_experts", adapter.frozen_experts_size() != 0);
    const ParallelConfig& parallel = config_.parallel();
    check("parallel.expert_parallel", parallel.expert_parallel() != 1);
    check("parallel.exchange", parallel.exchange() != ParallelConfig().exchange());
  }

  void check_frozen_experts() {
    if (are_faulty({"adapter.frozen_experts", "adapter.num_experts"})) return;
    const auto name_of = [](int item) { return fmt::format("adapter.frozen_experts[{}]", item); };
    // A faulty item is not in the list, so that the others have moved up.
    for (int item = 0; places_.is_set(name_of(item)); ++item) {
      if (are_faulty({name_of(item)})) return;
    }
    const AdapterConfig& adapter = config_.adapter();
    const auto& frozen = adapter.frozen_experts();
    for (int item = 0; item < frozen.size(); ++item) {
      const uint32_t expert = frozen[item];
      if (expert >= adapter.num_experts()) {
        add(name_of(item), fmt::format("expected an index below adapter.num_experts ({}), got {}",
                                       adapter.num_experts(), expert));
      } else if (std::find(frozen.begin(), frozen.begin() + item, expert) !=
                 frozen.begin() + item) {
        add(name_of(item), fmt::format("stands twice: expert {}; remove one", expert));
      }
    }
  }

  // Heads are shared out as the linear's columns are: there is nothing to exchange.
  void check_heads() {
    if (config_.adapter().router().heads() == 1 || are_faulty({"parallel.exchange"})) return;
    for (const AskedExchange& group :
         asked_exchanges(config_.parallel(), config_.adapter().targets())) {
      if (!group.has_experts || group.mode == GroupExchangeConfig::auto_ ||
          group.mode == GroupExchangeConfig::replicate) {
        continue;
      }
      return add(
          group.own == GroupExchangeConfig::inherit
              ? "parallel.exchange"
              : fmt::format("parallel.exchange_by_group.{}", group.group),
          "expected auto or replicate: adapter.router.heads are shared out as the columns of "
          "their linear are");
    }
  }

  void check_exchange_groups() {
    if (are_faulty({"adapter.targets"}) || has_faulty_target()) return;
    for (const AskedExchange& group :
         asked_exchanges(config_.parallel(), config_.adapter().targets())) {
      const std::string name = fmt::format("parallel.exchange_by_group.{}", group.group);
      if (group.has_experts || group.own == GroupExchangeConfig::inherit || are_faulty({name}))
        continue;
      add(name,
          "has no effect: no linear of this group is 'experts' in adapter.targets; remove "
          "it, or set one");
    }
  }

  // What can be known without the model and the number of ranks; the rest is check_layout's.
  void check_expert_shares() {
    if (are_faulty({"adapter.num_experts", "adapter.targets", "parallel.exchange"}) ||
        has_faulty_target()) {
      return;
    }
    const ParallelConfig& parallel = config_.parallel();
    check_share("parallel.expert_parallel", parallel.expert_parallel(),
                {GroupExchangeConfig::tokens, GroupExchangeConfig::gather});
    check_share("parallel.tensor_parallel", parallel.tensor_parallel(),
                {GroupExchangeConfig::rank});
  }

 private:
  void check_block_exchange() {
    for (const AskedExchange& group :
         asked_exchanges(config_.parallel(), config_.adapter().targets())) {
      const std::string_view name = group.group;
      if ((name != "gate_up" && name != "down") || !group.has_experts) continue;
      if (group.mode != GroupExchangeConfig::tokens && group.mode != GroupExchangeConfig::rank) {
        continue;
      }
      const bool is_own = group.own != GroupExchangeConfig::inherit;
      const std::string field =
          is_own ? fmt::format("parallel.exchange_by_group.{}", name) : "parallel.exchange";
      if (are_faulty({field})) continue;
      add(field, fmt::format("expected auto, replicate or gather for {} with "
                             "adapter.router.scope: block, whose experts are whole MLPs, got {}",
                             name, GroupExchangeConfig::GroupExchange_Name(group.mode)));
    }
  }

  // num_experts must be a multiple of the field's value where a group is asked for these modes.
  void check_share(std::string_view name, int64_t ranks,
                   const std::vector<GroupExchangeConfig::GroupExchange>& modes) {
    if (are_faulty({name, "parallel.exchange_by_group"})) return;
    const std::vector<int64_t> counts = expert_counts(config_.adapter());
    const auto unsplit = std::find_if(counts.begin(), counts.end(),
                                      [&](int64_t count) { return count % ranks != 0; });
    if (unsplit == counts.end()) return;
    const int64_t experts = *unsplit;
    std::string groups;
    for (const AskedExchange& group :
         asked_exchanges(config_.parallel(), config_.adapter().targets())) {
      const bool is_meant = std::find(modes.begin(), modes.end(), group.mode) != modes.end();
      if (!is_meant || !group.has_experts) continue;
      if (are_faulty({fmt::format("parallel.exchange_by_group.{}", group.group)})) continue;
      groups += fmt::format("{}{} ({})", groups.empty() ? "" : ", ", group.group,
                            GroupExchangeConfig::GroupExchange_Name(group.mode));
    }
    if (groups.empty()) return;
    add(name, fmt::format("expected a divisor of adapter.num_experts ({}), {}, for the exchange of "
                          "{}, got {}",
                          experts, alternatives(divisors(experts)), groups, ranks));
  }

  bool are_faulty(std::initializer_list<std::string_view> names) const {
    for (const std::string_view name : names) {
      if (faults_.covers(name)) return true;
    }
    return false;
  }

  bool has_faulty_target() const {
    for (const std::string& name : field_names(*TargetsConfig::descriptor())) {
      if (faults_.covers("adapter.targets." + name)) return true;
    }
    return false;
  }

  // A fault of a field that the gate decides about; silent while either is wrong in itself.
  void check_beside_gate(std::string_view name, bool is_wrong, std::string_view why) {
    if (is_wrong && !are_faulty({name, "adapter.router.gate"})) add(name, std::string(why));
  }

  void add(std::string_view name, const std::string& what) {
    faults_.add(places_.nearest(name, faults_.sources()), name, what);
  }

  const RunConfig& config_;
  const FieldPlaces& places_;
  Faults& faults_;
};

}  // namespace

void check_between_fields(const RunConfig& config, const FieldPlaces& places, Faults& faults) {
  FieldPairs pairs(config, places, faults);
  pairs.check_experts_per_token();
  pairs.check_family();
  pairs.check_block();
  pairs.check_router_losses();
  pairs.check_warmup();
  pairs.check_targets();
  pairs.check_device();
  pairs.check_router();
  pairs.check_frozen_experts();
  pairs.check_heads();
  pairs.check_exchange_groups();
  pairs.check_expert_shares();
}

std::vector<std::string> config_warnings(const RunConfig& config, const FieldPlaces& places,
                                         const std::vector<ConfigSource>& sources) {
  std::vector<std::string> warnings;
  const AdapterConfig& adapter = config.adapter();
  if (!has_experts(config)) return warnings;
  const auto warn = [&](std::string_view name, std::string_view what) {
    const std::string where = Faults(sources).where(places.nearest(name, sources));
    warnings.push_back(fmt::format("{}: {}: {}", where, name, what));
  };
  if (adapter.num_experts() == 1) {
    warn("adapter.num_experts",
         "one expert per linear is plain LoRA: the router has nothing to choose");
  } else if (adapter.experts_per_token() == 1 &&
             (adapter.router().gate() == RouterConfig::topk_softmax ||
              adapter.router().gate() == RouterConfig::softmax_topk_renorm)) {
    warn("adapter.experts_per_token",
         "with the gate topk_softmax the one chosen expert always has weight 1, so the router gets "
         "no gradient from the language-model loss; use softmax_topk, or 2 experts per token");
  }
  return warnings;
}

}  // namespace molora
