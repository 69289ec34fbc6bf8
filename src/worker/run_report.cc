#include "worker/run_report.h"

#include <algorithm>
#include <chrono>

#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "io/file.h"
#include "report/metrics_events.h"
#include "report/metrics_scalars.h"
#include "report/results_table.h"
#include "report/run_log.h"
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
json expert_load(const Tensor& counts_RE, const std::vector<int64_t>& experts) {
  json load = json::array();
  for (int64_t router = 0; router < counts_RE.size(0); ++router) {
    const auto* counts = counts_RE[router].const_data_ptr<int64_t>();
    load.push_back(std::vector<int64_t>(counts, counts + experts[static_cast<size_t>(router)]));
  }
  return load;
}

json router_json(const RouterReading::Router& router) {
  const RouterPlace place = router_place(router.name);
  return {{"name", router.name},
          {"layer", place.layer},
          {"linear", place.linear},
          {"load", router.load},
          {"entropy", router.entropy},
          {"top1_share", *std::max_element(router.load.begin(), router.load.end())},
          {"dead", router.dead}};
}

// Those that had tokens. Samples that name no task are of one without a name.
json loads_by_name(const std::vector<std::string>& names,
                   const std::vector<std::vector<double>>& loads) {
  json by_name = json::object();
  for (size_t i = 0; i < loads.size(); ++i) {
    if (loads[i].empty()) continue;
    const std::string& name = names.at(i);
    by_name[name.empty() ? "(none)" : name] = loads[i];
  }
  return by_name;
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
    : tasks_(options.tasks),
      scripts_(options.scripts),
      metrics_(folder.metrics(), options.steps_done),
      line_({.num_steps = options.num_steps,
             .log_every = options.log_every,
             .style = options.progress}) {
  for (const LinearAdapter& linear : adapters.linears()) {
    if (linear.spec.has_router()) routed_experts_.push_back(linear.spec.num_routed());
  }
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
    if (result.entropy_loss) line["entropy_loss"] = *result.entropy_loss;
    if (result.localized_balance_loss) {
      line["localized_balance_loss"] = *result.localized_balance_loss;
    }
    line["expert_load"] = expert_load(result.expert_counts_RE, routed_experts_);
  }
  if (cost.traffic.total_bytes() > 0) line["sent_bytes"] = traffic_json(cost.traffic);
  line["timing"] = {{"seconds", seconds},
                    {"tokens_per_second", static_cast<double>(result.tokens) / seconds}};
  if (result.check) line["timing"]["recomputed"] = step_check_json(*result.check);
  append(line);
  if (result.routers) routers_read(*result.routers, result, progress.step());
  alarmed(result.alarms);
  line_.step_done({.step = progress.step(),
                   .loss = result.loss,
                   .learning_rate = result.learning_rate,
                   .tokens = result.tokens,
                   .seconds = seconds,
                   .is_skipped = result.is_skipped});
}

void RunReport::routers_read(const RouterReading& reading, const StepResult& result, int64_t step) {
  json routers = json::array();
  for (const RouterReading::Router& router : reading.routers) {
    routers.push_back(router_json(router));
  }
  append({{"type", "routers"},
          {"step", step},
          {"tokens", result.tokens},
          {"routers", routers},
          {"tasks", loads_by_name(tasks_, reading.task_loads)},
          {"scripts", loads_by_name(scripts_, reading.script_loads)}});
}

// A run that goes wrong may lose many routers at once: a few are spoken of, all are in the file.
void RunReport::alarmed(const std::vector<RouterAlarm>& alarms) {
  constexpr size_t kSpokenOf = 4;
  for (size_t i = 0; i < alarms.size(); ++i) {
    const RouterAlarm& alarm = alarms[i];
    append({{"type", "alarm"},
            {"step", alarm.step},
            {"kind", alarm_kind_name(alarm.kind)},
            {"since", alarm.since},
            {"router", alarm.name},
            {"load", alarm.load},
            {"dead", alarm.dead},
            {"action", RouterHealthConfig::Action_Name(alarm.action)}});
    if (i < kSpokenOf && alarm.kind == RouterAlarm::Kind::kRecovered) {
      spdlog::info("{}", alarm_text(alarm));
    } else if (i < kSpokenOf) {
      spdlog::warn("{}", alarm_text(alarm));
    }
  }
  if (alarms.size() > kSpokenOf) {
    spdlog::warn("... and {} more routers; lines of type \"alarm\" in metrics.jsonl have them all",
                 alarms.size() - kSpokenOf);
  }
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
