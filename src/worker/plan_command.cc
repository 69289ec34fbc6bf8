// The plan command: what a layout would send, hold and compute, from config.json alone.
#include "io/file.h"
#include "worker/commands.h"
#include "worker/console.h"
#include "worker/plan_report.h"
#include "worker/resolved_config.h"
#include "worker/together.h"

namespace molora {

ExitCode run_plan(const PlanArguments& arguments, Communicator& world) {
  const RunConfig config = resolve_config(arguments.config, ConfigUse::kModel, world);
  together(world, [&] {
    if (world.rank() != 0) return;
    const auto& ignored = config.model().ignore_config_fields();
    const Architecture architecture =
        read_architecture(config.model().path(), {ignored.begin(), ignored.end()});
    const PlanReport report = make_plan_report(config, architecture, arguments);
    if (!arguments.json_path.empty())
      write_file_atomic(arguments.json_path, plan_json(report).dump(1) + "\n");
    print(plan_text(report));
  });
  return ExitCode::kDone;
}

}  // namespace molora
