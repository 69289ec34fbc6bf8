#include "worker/plan_report.h"

#include "plan/layout.h"

namespace molora {

namespace {

bool has_experts(const PlanInput& input, LinearGroup group) {
  for (const PlannedLinear& linear : group_linears(input, group)) {
    if (linear.has_experts()) return true;
  }
  return false;
}

PlannedGroup plan_group(const PlanInput& input, LinearGroup group, const ExchangeChoice& choice,
                        const LinkSpeeds& speeds) {
  PlannedGroup planned{.group = group,
                       .has_experts = has_experts(input, group),
                       .reason = choice.reasons.at(static_cast<size_t>(group))};
  for (const ExchangeMode mode : kExchangeModes) {
    const bool is_chosen = mode == choice.modes.of(group);
    if (!planned.has_experts && !is_chosen) continue;
    PlannedMode row{.mode = mode, .is_chosen = is_chosen};
    if (!is_chosen) row.obstacle = mode_obstacle(input, group, mode);
    if (row.obstacle.empty()) row.cost = group_cost(input, group, mode, speeds);
    planned.modes.push_back(row);
  }
  if (mode_obstacle(input, group, ExchangeMode::kTokens).empty())
    planned.break_even_tokens = break_even_tokens(input, group);
  return planned;
}

std::vector<TrafficItem> whole_step(const PlanInput& input, const ExchangeModes& modes) {
  std::vector<TrafficItem> items = micro_step_traffic(input, modes);
  for (TrafficItem& item : items) {
    item.calls *= static_cast<double>(input.micro_steps);
    item.bytes *= static_cast<double>(input.micro_steps);
  }
  const std::vector<TrafficItem> once = step_traffic(input, modes);
  items.insert(items.end(), once.begin(), once.end());
  return items;
}

// Needs the sums over all groups.
void fill_shares(PlanReport& report) {
  const double total = report.base.total() + report.adapters.total();
  for (PlannedGroup& group : report.groups) {
    double chosen = 0;
    for (const PlannedMode& mode : group.modes) {
      if (mode.is_chosen) chosen = mode.cost.time.total();
    }
    for (PlannedMode& mode : group.modes) {
      const double own = mode.cost.time.total();
      mode.share = own / (total - chosen + own);
    }
  }
}

}  // namespace

PlanReport make_plan_report(const RunConfig& config, const Architecture& architecture,
                            const PlanArguments& arguments) {
  const MeshShape mesh =
      check_layout(config.parallel(), config.adapter(), architecture, arguments.num_ranks);
  const bool is_cpu = arguments.speeds == PlanSpeeds::kCpu;
  const LinkSpeeds speeds = is_cpu ? LinkSpeeds::cpu() : LinkSpeeds::nvlink();
  PlanReport report;
  report.model = config.model().path();
  report.input = plan_input(config, architecture, mesh, arguments.tokens);
  report.speeds_name = is_cpu ? "cpu" : "nvlink";
  report.memory_limit = arguments.memory_gib * (1 << 30);
  const ExchangeChoice choice =
      choose_exchange(report.input, {.asked = asked_modes(config.parallel(), config.adapter()),
                                     .speeds = speeds,
                                     .memory_limit = report.memory_limit});
  for (const LinearGroup group : kLinearGroups) {
    report.groups.push_back(plan_group(report.input, group, choice, speeds));
    for (const PlannedMode& mode : report.groups.back().modes) {
      if (!mode.is_chosen) continue;
      report.adapters = report.adapters + mode.cost.time;
      report.adapter_flops += mode.cost.step_flops;
    }
  }
  report.traffic = whole_step(report.input, choice.modes);
  report.memory = memory_plan(report.input, choice.modes);
  report.base = base_time(report.input, speeds);
  report.base_flops = base_work(report.input).flops * static_cast<double>(report.input.micro_steps);
  fill_shares(report);
  return report;
}

}  // namespace molora
