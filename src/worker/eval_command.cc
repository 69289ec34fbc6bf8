// The evaluation command: held-out loss and exam accuracy of a run, a checkpoint or the base.
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "io/file.h"
#include "report/results_table.h"
#include "report/task_json.h"
#include "worker/adapted_session.h"
#include "worker/commands.h"
#include "worker/compute_threads.h"
#include "worker/console.h"
#include "worker/held_out.h"
#include "worker/together.h"

namespace molora {

namespace {

DataConfig eval_data(const RunConfig& config, const std::vector<std::string>& files) {
  DataConfig data = config.data();
  if (!files.empty()) {
    data.clear_eval();
    for (const std::string& file : files) data.add_eval()->set_path(file);
  }
  if (data.eval_size() == 0) {
    throw ConfigError(
        "there is nothing to evaluate on: the configuration has no data.eval; name files with "
        "--data FILE");
  }
  return data;
}

}  // namespace

ExitCode run_eval(const EvalArguments& arguments, Communicator& world) {
  set_compute_threads(world);
  const ResolvedModel model = resolve_model(arguments.model, world);
  const DataConfig data = eval_data(model.config, arguments.data);
  AdaptedSession adapted(model, world);
  const int64_t limit = arguments.max_samples_per_task >= 0
                            ? arguments.max_samples_per_task
                            : int64_t{model.config.eval().max_samples_per_task()};
  const HeldOut held_out(
      data, {.max_samples_per_task = limit, .max_new_tokens = arguments.max_new_tokens},
      adapted.session(), world);
  const std::vector<TaskResult> results = held_out.evaluate();
  together(world, [&] {
    if (world.rank() != 0) return;
    if (!arguments.json_path.empty()) {
      write_file_atomic(arguments.json_path, task_results_json(results).dump(1) + "\n");
    }
    print(results_table(results));
  });
  return ExitCode::kDone;
}

}  // namespace molora
