// The plan command: what a layout would send, hold and compute, or which one is best, from
// config.json alone.
#include "io/file.h"
#include "worker/commands.h"
#include "worker/console.h"
#include "worker/gpu_plan.h"
#include "worker/plan_report.h"
#include "worker/resolved_config.h"
#include "worker/together.h"

namespace molora {

namespace {

// The text for people, and the numbers.
struct PlanOutput {
  std::string text;
  nlohmann::json numbers;
};

PlanOutput make_output(const RunConfig& config, const Architecture& architecture,
                       const PlanArguments& arguments) {
  if (arguments.num_gpus > 0) {
    const GpuPlan plan = make_gpu_plan(config, architecture, arguments);
    return {gpu_plan_text(plan), gpu_plan_json(plan)};
  }
  const PlanReport report = make_plan_report(config, architecture, arguments);
  return {plan_text(report), plan_json(report)};
}

}  // namespace

ExitCode run_plan(const PlanArguments& arguments, Communicator& world) {
  const RunConfig config = resolve_config(arguments.config, ConfigUse::kModel, world);
  together(world, [&] {
    if (world.rank() != 0) return;
    const auto& ignored = config.model().ignore_config_fields();
    const Architecture architecture =
        read_architecture(config.model().path(), {ignored.begin(), ignored.end()});
    const PlanOutput output = make_output(config, architecture, arguments);
    if (!arguments.json_path.empty())
      write_file_atomic(arguments.json_path, output.numbers.dump(1) + "\n");
    print(output.text);
  });
  return ExitCode::kDone;
}

}  // namespace molora
