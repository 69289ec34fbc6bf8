// `molora plan --json`: the numbers of the tables, for machines.
#include "worker/plan_report.h"

namespace molora {

namespace {

using nlohmann::json;

json time_json(const StepTime& time) {
  return {{"arithmetic", time.arithmetic},
          {"memory", time.memory},
          {"links", time.links},
          {"latency", time.latency},
          {"total", time.total()}};
}

json mode_json(const PlannedMode& mode) {
  if (!mode.obstacle.empty()) return {{"obstacle", mode.obstacle}};
  return {{"forward_bytes_micro_step", mode.cost.forward_bytes},
          {"bytes_step", mode.cost.step_bytes},
          {"rank_flops_step", mode.cost.step_flops},
          {"seconds_step", time_json(mode.cost.time)},
          {"share", mode.share}};
}

json groups_json(const PlanReport& report) {
  json groups = json::object();
  for (const PlannedGroup& group : report.groups) {
    json entry = {{"has_experts", group.has_experts}, {"reason", group.reason}};
    for (const PlannedMode& mode : group.modes) {
      entry["modes"][exchange_mode_name(mode.mode)] = mode_json(mode);
      if (mode.is_chosen) entry["chosen"] = exchange_mode_name(mode.mode);
    }
    if (group.break_even_tokens > 0) entry["break_even_tokens"] = group.break_even_tokens;
    groups[linear_group_name(group.group)] = entry;
  }
  return groups;
}

json traffic_json(const std::vector<TrafficItem>& items) {
  json list = json::array();
  for (const TrafficItem& item : items) {
    list.push_back({{"purpose", purpose_name(item.purpose)},
                    {"pass", pass_name(item.pass)},
                    {"axis", axis_name(item.axis)},
                    {"collective", collective_name(item.kind)},
                    {"calls", item.calls},
                    {"bytes", item.bytes}});
  }
  return list;
}

}  // namespace

json plan_json(const PlanReport& report) {
  const PlanInput& input = report.input;
  const MemoryPlan& memory = report.memory;
  return {{"model", report.model},
          {"mesh",
           {{"ranks", input.mesh.world()},
            {"dp", input.mesh.dp},
            {"tp", input.mesh.tp},
            {"edp", input.mesh.edp},
            {"ep", input.mesh.ep},
            {"kv_replicas", input.mesh.kv_replicas},
            {"sequence_parallel", input.is_sequence_parallel}}},
          {"micro_steps", input.micro_steps},
          {"micro_step_tokens", input.tokens},
          {"speeds", report.speeds_name},
          {"groups", groups_json(report)},
          {"traffic_step", traffic_json(report.traffic)},
          {"rank_memory",
           {{"base", memory.base},
            {"adapter", memory.adapter},
            {"gradients", memory.gradients},
            {"moments", memory.moments},
            {"gathered_experts", memory.gathered_experts},
            {"checkpoint_copy", memory.checkpoint_copy},
            {"total", memory.total()}}},
          {"rank_flops_step", {{"base", report.base_flops}, {"adapters", report.adapter_flops}}},
          {"seconds_step",
           {{"base", time_json(report.base)}, {"adapters", time_json(report.adapters)}}}};
}

}  // namespace molora
