#include "worker/gpu_plan.h"

#include <algorithm>
#include <system_error>

#include <fmt/format.h>

#include "base/error.h"
#include "plan/work_plan.h"

namespace molora {

namespace {

constexpr double kGiB = 1 << 30;

// What stands for a group's experts in a line about a whole layout.
std::string experts_text(const LayoutForecast& layout) {
  std::vector<std::pair<std::string, std::string>> modes;
  for (const LinearGroup group : kLinearGroups) {
    const auto linears = group_linears(layout.input, group);
    const bool has_experts =
        std::any_of(linears.begin(), linears.end(),
                    [](const PlannedLinear& linear) { return linear.has_experts(); });
    if (has_experts)
      modes.emplace_back(linear_group_name(group), exchange_mode_name(layout.modes.of(group)));
  }
  if (modes.empty()) return {};
  const bool are_equal = std::all_of(modes.begin(), modes.end(), [&](const auto& mode) {
    return mode.second == modes.front().second;
  });
  if (are_equal) return ", " + modes.front().second;
  std::string text;
  for (const auto& [group, mode] : modes) text += fmt::format(", {} {}", group, mode);
  return text;
}

// The machine of this name or file computes on processors: cpu, mine/cpu-calibrated.yaml.
bool is_cpu(const std::string& gpu) {
  return std::filesystem::path(gpu).filename().string().starts_with("cpu");
}

}  // namespace

std::vector<std::filesystem::path> hardware_folders() {
  namespace fs = std::filesystem;
  std::vector<fs::path> folders = {"configs/hardware"};
  std::error_code error;
  fs::path at = fs::read_symlink("/proc/self/exe", error).parent_path();
  constexpr int kLevels = 3;  // build/bin/molora of the source folder
  for (int level = 0; level < kLevels && !error && at.has_relative_path(); ++level) {
    folders.push_back(at / "configs/hardware");
    at = at.parent_path();
  }
  return folders;
}

GpuPlan make_gpu_plan(const RunConfig& config, const Architecture& architecture,
                      const PlanArguments& arguments) {
  GpuPlan plan;
  plan.hardware = find_hardware({.gpu = arguments.gpu,
                                 .links = arguments.link,
                                 .memory_bytes = arguments.gpu_memory_gib * kGiB,
                                 .folders = hardware_folders()});
  plan.request = {.config = config,
                  .architecture = architecture,
                  .num_gpus = arguments.num_gpus,
                  .is_gpu = config.device().kind() != DeviceConfig::cpu && !is_cpu(arguments.gpu)};
  const MachineModel machine(plan.hardware, config.model().precision());
  plan.result = search_layouts(plan.request, machine);
  plan.written = forecast_as_written(plan.request, machine);
  if (plan.written && !plan.written->fits) plan.changes = changes_that_fit(plan.request, machine);
  if (plan.result.fitting.empty()) plan.remedies = remedies(plan.request, machine);
  return plan;
}

std::string layout_text(const LayoutForecast& layout) {
  const PlanInput& input = layout.input;
  std::string text = fmt::format("dp{} x tp{}", input.mesh.dp, input.mesh.tp);
  if (input.mesh.ep > 1) text += fmt::format(", ep{}", input.mesh.ep);
  if (input.is_sequence_parallel) text += " sp";
  text += fmt::format(", {} row{}", layout.micro_batch, layout.micro_batch == 1 ? "" : "s");
  if (input.recompute != TrainConfig::none) {
    text +=
        fmt::format(", recompute {}", input.recompute == TrainConfig::full ? "full" : "selective");
  }
  return text + experts_text(layout);
}

double sent_by_rank(const LayoutForecast& layout) {
  const PlanInput& input = layout.input;
  return (bytes_sent(micro_step_traffic(input, layout.modes)) * product(input.micro_steps) +
          bytes_sent(step_traffic(input, layout.modes))) /
         input.mesh.world();
}

double flops_of_rank(const LayoutForecast& layout) {
  double flops = base_work(layout.input).flops;
  for (const LinearGroup group : kLinearGroups) {
    flops += adapter_work(layout.input, group, layout.modes.of(group)).flops;
  }
  return flops * product(layout.input.micro_steps);
}

}  // namespace molora
