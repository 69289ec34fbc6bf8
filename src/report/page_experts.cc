// The experts section: loads by layer, over time and by task.
#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include <fmt/format.h>

#include "report/heat_map.h"
#include "report/line_chart.h"
#include "report/page_charts.h"
#include "report/page_sections.h"

namespace molora {

namespace {

std::vector<std::string> numbers_from_zero(size_t count) {
  std::vector<std::string> labels;
  for (size_t i = 0; i < count; ++i) labels.push_back(std::to_string(i));
  return labels;
}

size_t most_experts(const std::vector<std::vector<double>>& loads) {
  size_t most = 0;
  for (const auto& load : loads) most = std::max(most, load.size());
  return most;
}

std::string steps_text(int64_t first, int64_t last) {
  return first == last ? fmt::format("step {}", first) : fmt::format("steps {} to {}", first, last);
}

// The routers of a run as the file has named them; numbered when it has not.
RouterPlace place_of(const RunLog& log, size_t router) {
  if (router >= log.router_names().size()) {
    return {static_cast<int64_t>(router), "router"};
  }
  return router_place(log.router_names()[router]);
}

// A map for each kind of linear, with a row for each layer.
std::string layer_maps(const RunRecord& run, size_t number) {
  const LoadSpan latest = run.log.loads().latest();
  std::vector<std::string> linears;  // in the order of the file
  std::map<std::string, HeatMap> maps;
  for (size_t router = 0; router < latest.counts.size(); ++router) {
    const RouterPlace place = place_of(run.log, router);
    const auto [found, is_new] = maps.try_emplace(place.linear);
    HeatMap& map = found->second;
    if (is_new) linears.push_back(place.linear);
    map.row_labels.push_back(place.layer < 0 ? std::to_string(map.shares.size())
                                             : std::to_string(place.layer));
    map.shares.push_back(shares_of(latest.counts[router]));
  }
  std::string html;
  for (size_t i = 0; i < linears.size(); ++i) {
    HeatMap& map = maps.at(linears[i]);
    const size_t num_experts = most_experts(map.shares);
    map.id = fmt::format("experts-{}-{}", number, i);
    map.title = fmt::format("{}: layer by expert", linears[i]);
    map.note = fmt::format("Per cent of a router's choices, {}.",
                           steps_text(latest.first_step, latest.last_step));
    map.row_word = "layer";
    map.column_word = "expert";
    map.column_labels = numbers_from_zero(num_experts);
    map.even_share = 1.0 / static_cast<double>(std::max<size_t>(1, num_experts));
    html += heat_map_html(map);
  }
  return html;
}

// The mean share of each expert number over all routers.
std::vector<double> mean_shares(const std::vector<std::vector<double>>& counts) {
  std::vector<double> mean(most_experts(counts), 0.0);
  for (const auto& router : counts) {
    const std::vector<double> shares = shares_of(router);
    for (size_t expert = 0; expert < shares.size(); ++expert) {
      mean[expert] += shares[expert] / static_cast<double>(counts.size());
    }
  }
  return mean;
}

// Rows are experts of all routers with the same number, which is worth little when there are many
// routers; so the router with the least even load stands beside them.
HeatMap time_map(const RunRecord& run, const std::string& id) {
  HeatMap map{.id = id, .row_word = "expert", .column_word = "steps"};
  for (const LoadSpan& span : run.log.loads().spans()) {
    map.column_labels.push_back(std::to_string(span.first_step));
  }
  return map;
}

void set_columns(HeatMap& map, const std::vector<std::vector<double>>& columns) {
  const size_t num_experts = most_experts(columns);
  map.row_labels = numbers_from_zero(num_experts);
  map.even_share = 1.0 / static_cast<double>(std::max<size_t>(1, num_experts));
  map.shares.assign(num_experts, std::vector<double>(columns.size(), kNoNumber));
  for (size_t column = 0; column < columns.size(); ++column) {
    for (size_t expert = 0; expert < columns[column].size(); ++expert) {
      map.shares[expert][column] = columns[column][expert];
    }
  }
}

size_t least_even_router(const LoadSpan& span) {
  size_t least = 0;
  for (size_t router = 1; router < span.counts.size(); ++router) {
    if (evenness(span.counts[router]) < evenness(span.counts[least])) least = router;
  }
  return least;
}

std::string time_maps(const RunRecord& run, size_t number) {
  const std::vector<LoadSpan>& spans = run.log.loads().spans();
  if (spans.size() < 2) return {};
  std::vector<std::vector<double>> means;
  std::vector<std::vector<double>> of_least;
  const size_t least = least_even_router(run.log.loads().latest());
  for (const LoadSpan& span : spans) {
    means.push_back(mean_shares(span.counts));
    of_least.push_back(shares_of(span.counts[least]));
  }
  HeatMap mean = time_map(run, fmt::format("experts-time-{}", number));
  mean.title = "All routers: expert over time";
  mean.note = "Mean share over all routers of the expert with this number; columns are steps.";
  set_columns(mean, means);
  HeatMap one = time_map(run, fmt::format("experts-least-{}", number));
  const std::string name = least < run.log.router_names().size() ? run.log.router_names()[least]
                                                                 : fmt::format("router {}", least);
  one.title = "Least even router: expert over time";
  one.note =
      fmt::format("{}, the router whose latest load is the least even; columns are steps.", name);
  set_columns(one, of_least);
  return heat_map_html(mean) + heat_map_html(one);
}

// Rows are tasks or scripts: map.row_word says which.
HeatMap group_map(HeatMap map, const std::vector<GroupLoad>& groups) {
  map.note = fmt::format("Per cent of a {}'s choices, mean over all routers.", map.row_word);
  map.column_word = "expert";
  for (const GroupLoad& group : groups) {
    map.row_labels.push_back(group.name);
    map.shares.push_back(group.load);
  }
  const size_t num_experts = most_experts(map.shares);
  map.column_labels = numbers_from_zero(num_experts);
  map.even_share = 1.0 / static_cast<double>(std::max<size_t>(1, num_experts));
  return map;
}

// The first report of tasks, one in the middle and the last.
std::string task_maps(const RunRecord& run, size_t number) {
  std::vector<const RouterReport*> with_tasks;
  for (const RouterReport& report : run.log.router_reports()) {
    if (!report.tasks.empty()) with_tasks.push_back(&report);
  }
  if (with_tasks.empty()) return {};
  std::vector<size_t> chosen = {0, with_tasks.size() / 2, with_tasks.size() - 1};
  chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
  std::string html;
  for (const size_t index : chosen) {
    html += heat_map_html(
        group_map({.id = fmt::format("tasks-experts-{}-{}", number, index),
                   .title = fmt::format("Task by expert, step {}", with_tasks[index]->step),
                   .row_word = "task"},
                  with_tasks[index]->tasks));
  }
  return html;
}

// Of the last report, where the data are written in several.
std::string script_map(const RunRecord& run, size_t number) {
  if (run.log.router_reports().empty()) return {};
  const RouterReport& last = run.log.router_reports().back();
  if (last.scripts.size() < 2) return {};
  return heat_map_html(group_map({.id = fmt::format("scripts-experts-{}", number),
                                  .title = fmt::format("Script by expert, step {}", last.step),
                                  .row_word = "script"},
                                 last.scripts));
}

LineChart router_chart(const Runs& runs, const std::string& id, const std::string& title,
                       double (*of)(const RouterPoint&)) {
  LineChart chart{.id = id, .title = title, .starts_at_zero = true};
  for (size_t run = 0; run < runs.size(); ++run) {
    ChartLine line{.name = runs[run].name, .slot = run};
    for (const RouterReport& report : runs[run].log.router_reports()) {
      double sum = 0.0;
      for (const RouterPoint& router : report.routers) sum += of(router);
      if (report.routers.empty() || !std::isfinite(sum)) continue;
      line.line.push_back({static_cast<double>(report.step), sum});
    }
    chart.lines.push_back(std::move(line));
  }
  return chart;
}

std::string dead_experts_chart(const Runs& runs) {
  const bool has_any = std::any_of(runs.begin(), runs.end(), [](const RunRecord& run) {
    return !run.log.router_reports().empty();
  });
  if (!has_any) return {};
  LineChart chart =
      router_chart(runs, "dead-experts", "Dead experts",
                   [](const RouterPoint& router) { return static_cast<double>(router.num_dead); });
  chart.quantity = Quantity::kCount;
  chart.note = "Experts that hardly any token chose, over all routers.";
  return line_chart_html(chart);
}

}  // namespace

std::string experts_section(const Runs& runs) {
  const bool has_any = std::any_of(runs.begin(), runs.end(), [](const RunRecord& run) {
    return !run.log.loads().spans().empty() || !run.log.router_reports().empty();
  });
  if (!has_any) return {};
  std::string html = "<div class=\"cards\">\n";
  html += line_chart_html(
      step_chart(runs, &StepPoint::evenness,
                 {.id = "evenness",
                  .title = "Evenness of the load",
                  .note = "Entropy of the experts' shares over that of equal ones, mean over the "
                          "routers: 1 is even, 0 is one expert alone."}));
  html += line_chart_html(step_chart(runs, &StepPoint::largest_share,
                                     {.id = "largest-share",
                                      .title = "Largest share of one expert",
                                      .note = "Of its router's choices, over all routers.",
                                      .quantity = Quantity::kShare,
                                      .starts_at_zero = true}));
  html += dead_experts_chart(runs) + "</div>\n" + heat_legend_html();
  for (size_t run = 0; run < runs.size(); ++run) {
    std::string maps;
    if (!runs[run].log.loads().spans().empty()) {
      maps += layer_maps(runs[run], run) + time_maps(runs[run], run);
    }
    maps += task_maps(runs[run], run) + script_map(runs[run], run);
    if (maps.empty()) continue;
    html += run_heading(runs, run) + "<div class=\"cards maps\">\n" + maps + "</div>\n";
  }
  return section_html("experts", "Experts", html);
}

}  // namespace molora
