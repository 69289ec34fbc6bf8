#include "checkpoint/surgery_plan.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/check.h"
#include "base/error.h"
#include "config/adapter_family.h"
#include "config/adapter_scale.h"

namespace molora {

namespace {

using google::protobuf::FieldDescriptor;

bool has_experts(const TargetsConfig& targets) {
  const google::protobuf::Descriptor& type = *TargetsConfig::descriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    if (target_kind(targets, type.field(i)->name()) == TargetsConfig::experts) return true;
  }
  return false;
}

std::vector<int64_t> drop_list(const RunConfig& config) {
  const auto& list = config.checkpoint().surgery().drop_experts();
  return {list.begin(), list.end()};
}

// The same list stays in a configuration file after it was obeyed.
bool is_dropping_done(const RunConfig& stored, const RunConfig& wanted) {
  return drop_list(stored) == drop_list(wanted);
}

SurgeryPlan::Size size_of(const RunConfig& config) {
  const AdapterConfig& adapter = config.adapter();
  const bool is_mixture = has_experts(adapter.targets());
  return {is_mixture ? adapter.num_experts() : 1, adapter.lora_rank(),
          adapter_scale(adapter, adapter.lora_rank())};
}

// Whether the number of experts that a token takes changes where there is a choice before and
// after.
bool is_another_choice(const RunConfig& stored, const RunConfig& wanted) {
  return size_of(stored).num_experts > 1 && size_of(wanted).num_experts > 1 &&
         wanted.adapter().router().gate() != RouterConfig::dense_softmax &&
         stored.adapter().experts_per_token() != wanted.adapter().experts_per_token();
}

// "expert 3" or "experts 3, 4".
std::string experts_text(const std::vector<int64_t>& experts) {
  return fmt::format("expert{} {}", experts.size() == 1 ? "" : "s", fmt::join(experts, ", "));
}

constexpr std::string_view kOrAllow = "set checkpoint.surgery.may_change_forward: true";

// Collects everything that is refused, then what is done.
class Planner {
 public:
  Planner(const RunConfig& stored, const RunConfig& wanted) : stored_(stored), wanted_(wanted) {
    const SurgeryConfig& surgery = wanted.checkpoint().surgery();
    plan_.targets = wanted.adapter().targets();
    plan_.stored = size_of(stored);
    plan_.wanted = size_of(wanted);
    plan_.added_expert_bias = surgery.added_expert_bias();
    plan_.may_change_forward = surgery.may_change_forward();
  }

  SurgeryPlan plan() {
    check_targets();
    check_family();
    check_router_bias();
    if (refused_.empty()) {
      plan_dropped();
      plan_origins();
      check_choice();
    }
    if (!refused_.empty()) {
      throw ConfigError(
          fmt::format("the checkpoint's experts cannot be made what the configuration asks for:\n  "
                      "{}",
                      fmt::join(refused_, "\n  ")));
    }
    report_experts();
    report_sizes();
    return std::move(plan_);
  }

 private:
  void check_targets() {
    const google::protobuf::Descriptor& type = *TargetsConfig::descriptor();
    for (int i = 0; i < type.field_count(); ++i) {
      const std::string name(type.field(i)->name());
      const auto before = target_kind(stored_.adapter().targets(), name);
      const auto after = target_kind(wanted_.adapter().targets(), name);
      if (before == after) continue;
      refuse("adapter.targets." + name,
             fmt::format("the checkpoint has {}, got {}; what is trained on a linear cannot be "
                         "changed: set it to {}, or start a new run",
                         TargetsConfig::Kind_Name(before), TargetsConfig::Kind_Name(after),
                         TargetsConfig::Kind_Name(before)));
    }
  }

  // Other members of the family keep the experts that they began with.
  void check_family() {
    const auto& [a, b] = std::pair(plan_.stored, plan_.wanted);
    if (a.num_experts == b.num_experts && a.lora_rank == b.lora_rank && a.scale == b.scale &&
        is_dropping_done(stored_, wanted_)) {
      return;
    }
    for (const AdapterConfig* adapter : {&stored_.adapter(), &wanted_.adapter()}) {
      for (const std::string& field : family_fields(*adapter)) {
        refuse(field, fmt::format("experts, lora_rank and scale of {} adapter with it cannot be "
                                  "changed; keep adapter as the checkpoint has it, or start a new "
                                  "run",
                                  adapter == &stored_.adapter() ? "the checkpoint's" : "an"));
      }
    }
  }

  // Added experts wait behind a low bias, which must be there and must be able to rise.
  void check_router_bias() {
    if (plan_.wanted.num_experts <= plan_.stored.num_experts || wanted_.adapter().router().bias()) {
      return;
    }
    refuse("adapter.num_experts",
           "experts are added behind a low router bias that training raises, but "
           "adapter.router.bias is false: set it to true, or start a new run");
  }

  void plan_dropped() {
    if (is_dropping_done(stored_, wanted_)) return;
    const std::vector<int64_t> list = drop_list(wanted_);
    const int64_t there = plan_.stored.num_experts;
    if (!list.empty() && !has_experts(plan_.targets)) {
      return refuse("checkpoint.surgery.drop_experts",
                    "has no effect: no linear in adapter.targets is 'experts'; remove it");
    }
    for (const int64_t expert : list) {
      if (expert >= there) {
        refuse(
            "checkpoint.surgery.drop_experts",
            fmt::format("expected indices below {}, the number of experts in the checkpoint, got "
                        "{}",
                        there, expert));
      } else if (std::find(plan_.dropped.begin(), plan_.dropped.end(), expert) !=
                 plan_.dropped.end()) {
        refuse("checkpoint.surgery.drop_experts",
               fmt::format("expert {} stands twice; remove one", expert));
      } else {
        plan_.dropped.push_back(expert);
      }
    }
    std::sort(plan_.dropped.begin(), plan_.dropped.end());
    if (std::ssize(plan_.dropped) == there) {
      refuse("checkpoint.surgery.drop_experts",
             fmt::format("names all experts of the checkpoint ({}); keep one, or start a new run",
                         there));
    }
  }

  void plan_origins() {
    const int64_t wanted = plan_.wanted.num_experts;
    for (int64_t expert = 0; expert < plan_.stored.num_experts; ++expert) {
      if (!std::binary_search(plan_.dropped.begin(), plan_.dropped.end(), expert)) {
        plan_.origins.push_back(expert);
      }
    }
    if (plan_.stored.num_experts == 1 && wanted > 1) {
      return refuse(
          "adapter.num_experts",
          fmt::format("the checkpoint has one expert per linear and so no router, got {}; "
                      "a router cannot be added: set adapter.num_experts: 1, or start a "
                      "new run",
                      wanted));
    }
    if (wanted < std::ssize(plan_.origins)) return refuse_too_few();
    const double bias = plan_.added_expert_bias;
    if (wanted > std::ssize(plan_.origins) && bias > kUnchosenBias && !plan_.may_change_forward) {
      refuse("checkpoint.surgery.added_expert_bias",
             fmt::format("expected at most {}, at which no token takes an added expert at first, "
                         "got {}; to let tokens try it at once, {}",
                         kUnchosenBias, bias, kOrAllow));
    }
    plan_.origins.resize(static_cast<size_t>(wanted), SurgeryPlan::kAdded);
  }

  void refuse_too_few() {
    const int64_t wanted = plan_.wanted.num_experts;
    const int64_t left = std::ssize(plan_.origins);
    const std::string left_out =
        plan_.dropped.empty() ? "" : " without " + experts_text(plan_.dropped);
    std::string text = fmt::format(
        "expected at least {}, the checkpoint's {} experts{}, got {}; name {} to leave out", left,
        plan_.stored.num_experts, left_out, wanted, left - wanted);
    if (plan_.dropped.empty()) {
      const std::vector<int64_t> last(plan_.origins.begin() + wanted, plan_.origins.end());
      text += fmt::format(", such as checkpoint.surgery.drop_experts: [{}]", fmt::join(last, ", "));
    } else {
      text += " as well in checkpoint.surgery.drop_experts";
    }
    if (is_dropping_done(stored_, wanted_) && !drop_list(wanted_).empty()) {
      text += fmt::format(
          " (the list [{}] was obeyed before this checkpoint was saved; write one with the present "
          "indices)",
          fmt::join(drop_list(wanted_), ", "));
    }
    refuse("adapter.num_experts", text);
  }

  void check_choice() {
    if (!is_another_choice(stored_, wanted_) || plan_.may_change_forward) return;
    const uint32_t before = stored_.adapter().experts_per_token();
    refuse(
        "adapter.experts_per_token",
        fmt::format("the checkpoint was trained with {}, got {}, which makes the adapter another "
                    "function; set it to {}, or to allow that {}",
                    before, wanted_.adapter().experts_per_token(), before, kOrAllow));
  }

  void report_experts() {
    const std::vector<int64_t>& origins = plan_.origins;
    std::vector<int64_t> added;
    for (size_t expert = 0; expert < origins.size(); ++expert) {
      if (origins[expert] == SurgeryPlan::kAdded) added.push_back(static_cast<int64_t>(expert));
    }
    std::vector<std::string> parts;
    if (!plan_.dropped.empty()) {
      parts.push_back(fmt::format("{} of the checkpoint left out, the others keep their order",
                                  experts_text(plan_.dropped)));
    }
    if (!added.empty()) {
      parts.push_back(
          fmt::format("{} new, with router bias {}", experts_text(added), plan_.added_expert_bias));
    }
    if (plan_.stored.num_experts > 1 && origins.size() == 1) {
      parts.emplace_back("the one that is left has no router: its weight is 1 for every token");
    }
    if (!parts.empty()) {
      plan_.report.push_back(fmt::format("num_experts {} -> {}: {}", plan_.stored.num_experts,
                                         origins.size(), fmt::join(parts, "; ")));
    }
    if (is_another_choice(stored_, wanted_)) {
      plan_.report.push_back(fmt::format(
          "experts_per_token {} -> {}: the first forward pass changes",
          stored_.adapter().experts_per_token(), wanted_.adapter().experts_per_token()));
    }
  }

  void report_sizes() {
    if (plan_.wanted.lora_rank > plan_.stored.lora_rank) {
      plan_.report.push_back(fmt::format(
          "lora_rank {} -> {}: the new rows of lora_A are as at the start of a run, of lora_B 0",
          plan_.stored.lora_rank, plan_.wanted.lora_rank));
    }
    if (plan_.factor_of_B() != 1.0) {
      plan_.report.push_back(
          fmt::format("scale {} -> {}: lora_B is multiplied by {}, so that the adapter stays the "
                      "same function",
                      plan_.stored.scale, plan_.wanted.scale, plan_.factor_of_B()));
    }
  }

  void refuse(std::string_view field, const std::string& what) {
    refused_.push_back(fmt::format("{}: {}", field, what));
  }

  const RunConfig& stored_;
  const RunConfig& wanted_;
  SurgeryPlan plan_;
  std::vector<std::string> refused_;
};

}  // namespace

TargetsConfig::Kind target_kind(const TargetsConfig& targets, std::string_view path) {
  const std::string name(path.substr(path.rfind('.') + 1));
  const FieldDescriptor* field = TargetsConfig::descriptor()->FindFieldByName(name);
  MOLORA_CHECK(field != nullptr, "{} is no linear of adapter.targets", path);
  return static_cast<TargetsConfig::Kind>(targets.GetReflection()->GetEnumValue(targets, field));
}

bool needs_surgery(const RunConfig& stored, const RunConfig& wanted) {
  const SurgeryPlan::Size before = size_of(stored);
  const SurgeryPlan::Size after = size_of(wanted);
  return before.num_experts != after.num_experts || before.lora_rank != after.lora_rank ||
         before.scale != after.scale || is_another_choice(stored, wanted) ||
         (!is_dropping_done(stored, wanted) && !drop_list(wanted).empty());
}

SurgeryPlan plan_surgery(const RunConfig& stored, const RunConfig& wanted) {
  return Planner(stored, wanted).plan();
}

}  // namespace molora
