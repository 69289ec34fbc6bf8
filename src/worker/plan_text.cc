// The tables of `molora plan`.
#include <algorithm>
#include <string>

#include <fmt/format.h>

#include "base/unit_text.h"
#include "worker/plan_report.h"

namespace molora {

namespace {

std::string heading(const PlanReport& report) {
  const PlanInput& input = report.input;
  const int world = input.mesh.world();
  return fmt::format(
      "{} on {} rank{}: {}{}\n"
      "a step: {} micro-step{} of {} tokens on each data-parallel rank, all supervised\n"
      "times: constants of '{}', without overlap; they rank the modes and do not forecast a run\n",
      report.model, world, world == 1 ? "" : "s", mesh_text(input.mesh),
      input.is_sequence_parallel ? ", sequence parallel" : "", grouped_digits(input.micro_steps),
      input.micro_steps == 1 ? "" : "s", grouped_digits(input.tokens / input.mesh.dp),
      report.speeds_name);
}

std::string mode_row(const PlannedGroup& group, const PlannedMode& mode, const PlanInput& input) {
  const std::string name = group.has_experts ? exchange_mode_name(mode.mode) : "-";
  const std::string begin = fmt::format("  {:<9}{} {:<10}", linear_group_name(group.group),
                                        mode.is_chosen ? "*" : " ", name);
  if (!mode.obstacle.empty()) return fmt::format("{} left out: {}\n", begin, mode.obstacle);
  const auto per_token =
      mode.cost.forward_bytes / static_cast<double>(input.tokens * input.architecture.num_layers);
  return fmt::format("{}{:>13}{:>13}{:>14}{:>12}{:>9.2f}%\n", begin, bytes_text(per_token),
                     bytes_text(mode.cost.step_bytes), flops_text(mode.cost.step_flops),
                     seconds_text(mode.cost.time.total()), 100 * mode.share);
}

std::string exchange_table(const PlanReport& report) {
  const AdapterConfig& adapter = report.input.adapter;
  std::string text = fmt::format(
      "\nadapters, and how routed tokens and experts meet ({} experts, {} per token, lora_rank "
      "{})\n"
      "  {:<9}  {:<10}{:>13}{:>13}{:>14}{:>12}{:>10}\n"
      "  {:<9}  {:<10}{:>13}{:>13}{:>14}{:>12}{:>10}\n",
      adapter.num_experts(), adapter.experts_per_token(), adapter.lora_rank(), "linears",
      "exchange", "sent forward", "sent", "arithmetic", "time", "share", "", "", "token, layer",
      "step", "rank, step", "step", "step");
  for (const PlannedGroup& group : report.groups) {
    for (const PlannedMode& mode : group.modes) text += mode_row(group, mode, report.input);
  }
  return text;
}

std::string wrapped(const std::string& begin, const std::string& text, size_t indent) {
  constexpr size_t kWidth = 100;
  std::string out = begin;
  size_t column = begin.size();
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = std::min(text.find(' ', at), text.size());
    if (column + 1 + end - at > kWidth) {
      out += "\n" + std::string(indent - 1, ' ');
      column = indent - 1;
    }
    out += " " + text.substr(at, end - at);
    column += 1 + end - at;
    at = end + 1;
  }
  return out + "\n";
}

std::string choice_text(const PlanReport& report) {
  std::string text = "\nchosen (*)\n";
  for (const PlannedGroup& group : report.groups) {
    const auto chosen = std::find_if(group.modes.begin(), group.modes.end(),
                                     [](const PlannedMode& mode) { return mode.is_chosen; });
    std::string reason = group.reason;
    if (group.has_experts) reason = fmt::format("{}; {}", exchange_mode_name(chosen->mode), reason);
    if (group.break_even_tokens > 0) {
      reason += fmt::format("; gather sends fewer bytes than tokens from {:.0f} tokens a rank on",
                            group.break_even_tokens);
    }
    text += wrapped(fmt::format("  {:<10}", linear_group_name(group.group)), reason, 13);
  }
  return text;
}

std::vector<Pass> shown_passes(const std::vector<TrafficItem>& items) {
  std::vector<Pass> passes;
  for (const Pass pass : kPasses) {
    if (pass != Pass::kRecompute || bytes_sent(items, {.pass = pass}) > 0) passes.push_back(pass);
  }
  return passes;
}

std::string traffic_row(const std::string& what, const char* axis,
                        const std::vector<TrafficItem>& items, TrafficFilter filter) {
  std::string row = fmt::format("  {:<17}{:<5}", what, axis);
  for (const Pass pass : shown_passes(items)) {
    filter.pass = pass;
    row += fmt::format("{:>13}", bytes_text(bytes_sent(items, filter)));
  }
  filter.pass.reset();
  return fmt::format("{}{:>13}\n", row, bytes_text(bytes_sent(items, filter)));
}

std::string traffic_table(const PlanReport& report) {
  if (bytes_sent(report.traffic) == 0) return "\ntraffic: none\n";
  std::string text = fmt::format("\nsent in one step, all ranks together\n  {:<22}", "");
  for (const Pass pass : shown_passes(report.traffic)) {
    text += fmt::format("{:>13}", pass == Pass::kStep ? "once" : pass_name(pass));
  }
  text += fmt::format("{:>13}\n", "sum");
  for (size_t i = 0; i < kNumPurposes; ++i) {
    for (const Axis axis : kAxes) {
      const TrafficFilter filter{.purpose = static_cast<Purpose>(i), .axis = axis};
      if (bytes_sent(report.traffic, filter) == 0) continue;
      text += traffic_row(purpose_name(*filter.purpose), axis_name(axis), report.traffic, filter);
    }
  }
  for (const Axis axis : kAxes) {
    const TrafficFilter filter{.axis = axis};
    if (bytes_sent(report.traffic, filter) == 0) continue;
    text += traffic_row("sum over", axis_name(axis), report.traffic, filter);
  }
  return text + traffic_row("sum", "", report.traffic, {});
}

std::string memory_text(const PlanReport& report) {
  const MemoryPlan& memory = report.memory;
  const auto line = [](const char* name, double bytes) {
    return fmt::format("  {:<22}{:>13}\n", name, bytes_text(bytes));
  };
  std::string text = "\nmemory of one rank, without activations\n";
  text += line("base", memory.base);
  text += line("adapter", memory.adapter);
  text += line("gradients", memory.gradients);
  text += line("AdamW moments", memory.moments);
  if (memory.gathered_experts > 0) text += line("gathered experts", memory.gathered_experts);
  text += line("copy for checkpoints", memory.checkpoint_copy);
  text += line("sum", memory.total());
  if (report.memory_limit == 0) return text;
  const double left = report.memory_limit - memory.total();
  return text + (left >= 0 ? line("left of the limit", left) : line("over the limit by", -left));
}

std::string step_text(const PlanReport& report) {
  const auto line = [](const char* name, double flops, const StepTime& time) {
    return fmt::format("  {:<22}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}\n", name, flops_text(flops),
                       seconds_text(time.arithmetic), seconds_text(time.memory),
                       seconds_text(time.links), seconds_text(time.latency),
                       seconds_text(time.total()));
  };
  return fmt::format("\none step of one rank\n  {:<22}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}\n", "",
                     "arithmetic", "its time", "memory", "links", "calls", "sum") +
         line("base", report.base_flops, report.base) +
         line("adapters", report.adapter_flops, report.adapters) +
         line("sum", report.base_flops + report.adapter_flops, report.base + report.adapters);
}

}  // namespace

std::string plan_text(const PlanReport& report) {
  return heading(report) + exchange_table(report) + choice_text(report) + traffic_table(report) +
         memory_text(report) + step_text(report);
}

}  // namespace molora
