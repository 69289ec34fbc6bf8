#include "worker/run_report.h"

#include <chrono>

#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "io/file.h"
#include "report/metrics_events.h"
#include "report/metrics_scalars.h"
#include "report/results_table.h"
#include "report/task_json.h"
#include "worker/traffic_meter.h"

namespace molora {

namespace {

using nlohmann::json;

std::vector<std::string> router_names(const AdapterSet& adapters) {
  std::vector<std::string> names;
  for (const LinearAdapter& linear : adapters.linears()) {
    if (linear.spec.has_router()) names.push_back(linear.router_path());
  }
  return names;
}

// How many of the step's tokens each expert of each router was chosen for, in the order of
// "routers" in the file's first line.
json expert_load(const Tensor& counts_RE) {
  json load = json::array();
  for (int64_t router = 0; router < counts_RE.size(0); ++router) {
    const auto* counts = counts_RE[router].const_data_ptr<int64_t>();
    load.push_back(std::vector<int64_t>(counts, counts + counts_RE.size(1)));
  }
  return load;
}

// A step that was computed again is the clock's, or a machine's, not the run's.
json step_check_json(const StepCheck& check) {
  json line = {{"computations", check.num_computations},
               {"loss", check.loss},
               {"grad_norm", check.grad_norm},
               {"ranks", check.ranks}};
  if (check.median_norm) line["median_norm"] = *check.median_norm;
  return line;
}

}  // namespace

RunReport::RunReport(const RunFolder& folder, const AdapterSet& adapters, const Options& options)
    : metrics_(folder.metrics(), options.steps_done),
      line_({.num_steps = options.num_steps,
             .log_every = options.log_every,
             .style = options.progress}) {
  if (options.has_tensorboard) {
    const bool is_first = !has_event_files(folder.tensorboard());
    events_.emplace(folder.tensorboard(), options.steps_done == 0 ? 0 : options.steps_done + 1);
    // Steps from before it was asked for.
    if (is_first && !metrics_.is_empty()) append_metrics(folder.metrics(), *events_);
  }
  if (!metrics_.is_empty()) return;
  const json line = {{"type", "run"},
                     {"step", 0},
                     {"num_steps", options.num_steps},
                     {"routers", router_names(adapters)},
                     {"timing", {{"ranks", options.world_size}}}};
  append(line);
}

void RunReport::append(const json& line) {
  metrics_.append(line.dump());
  if (!events_) return;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  events_->append(line.at("step").get<int64_t>(), std::chrono::duration<double>(now).count(),
                  metrics_scalars(line));
}

void RunReport::sync() {
  metrics_.sync();
  if (events_) events_->sync();
}

void RunReport::step_done(const StepResult& result, const Progress& progress,
                          const StepCost& cost) {
  const double seconds = cost.seconds;
  json line = {{"type", "step"},
               {"step", progress.step()},
               {"loss", result.loss},
               {"learning_rate", result.learning_rate},
               {"grad_norm", result.grad_norm},
               {"tokens", result.tokens},
               {"supervised", result.supervised},
               {"samples", result.samples},
               {"epoch", progress.epoch()},
               {"skipped", result.is_skipped},
               {"skipped_steps", progress.skipped_steps()}};
  if (result.expert_counts_RE.size(0) > 0) {
    line["balance_loss"] = result.balance_loss;
    line["z_loss"] = result.z_loss;
    line["expert_load"] = expert_load(result.expert_counts_RE);
  }
  if (cost.traffic.total_bytes() > 0) line["sent_bytes"] = traffic_json(cost.traffic);
  line["timing"] = {{"seconds", seconds},
                    {"tokens_per_second", static_cast<double>(result.tokens) / seconds}};
  if (result.check) line["timing"]["recomputed"] = step_check_json(*result.check);
  append(line);
  line_.step_done({.step = progress.step(),
                   .loss = result.loss,
                   .learning_rate = result.learning_rate,
                   .tokens = result.tokens,
                   .seconds = seconds,
                   .is_skipped = result.is_skipped});
}

void RunReport::evaluated(int64_t steps_done, const std::vector<TaskResult>& results) {
  const json line = {{"type", "eval"},
                     {"step", steps_done},
                     {"loss", overall_loss(results)},
                     {"tasks", task_results_json(results)}};
  append(line);
  spdlog::info("step {}: held-out loss {:.4f}", steps_done, overall_loss(results));
}

void RunReport::ranks(int64_t steps_done, const RankUsages& usages, double straggler_factor) {
  const json line = {{"type", "ranks"}, {"step", steps_done}, {"timing", rank_usages_json(usages)}};
  append(line);
  for (const std::string& warning : straggler_warnings(usages, straggler_factor)) {
    spdlog::warn("{}", warning);
  }
}

std::string write_results(const std::filesystem::path& path, const std::vector<TaskResult>& before,
                          const std::vector<TaskResult>& after) {
  std::string table = results_table(before, after);
  write_file_atomic(path, table);
  return table;
}

}  // namespace molora
