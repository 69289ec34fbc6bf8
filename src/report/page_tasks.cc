// The tasks section: accuracy with intervals, and held-out loss, of each task.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "report/axis_scale.h"
#include "report/bar_chart.h"
#include "report/page_sections.h"
#include "report/wilson.h"

namespace molora {

namespace {

const TaskScore* find_task(const Evaluation& evaluation, const std::string& name) {
  const auto found = std::find_if(evaluation.tasks.begin(), evaluation.tasks.end(),
                                  [&](const TaskScore& task) { return task.task == name; });
  return found == evaluation.tasks.end() ? nullptr : &*found;
}

// All tasks of the last evaluations, each once.
std::vector<std::string> task_names(const Runs& runs) {
  std::vector<std::string> names;
  for (const RunRecord& run : runs) {
    if (run.log.evaluations().empty()) continue;
    for (const TaskScore& task : run.log.evaluations().back().tasks) {
      if (std::find(names.begin(), names.end(), task.task) == names.end()) {
        names.push_back(task.task);
      }
    }
  }
  return names;
}

// The first and the last evaluation's word on a task; `before` is null when there is but one.
struct BeforeAfter {
  const TaskScore* before = nullptr;
  const TaskScore* after = nullptr;
};

BeforeAfter of_task(const RunRecord& run, const std::string& name) {
  const std::vector<Evaluation>& all = run.log.evaluations();
  if (all.empty()) return {};
  return {all.size() > 1 ? find_task(all.front(), name) : nullptr, find_task(all.back(), name)};
}

double accuracy(const TaskScore& task) {
  return static_cast<double>(task.correct) / static_cast<double>(task.questions);
}

Bar accuracy_bar(const BeforeAfter& task) {
  const Interval interval = wilson_interval(task.after->correct, task.after->questions);
  Bar bar{.value = accuracy(*task.after),
          .low = interval.low,
          .high = interval.high,
          .chance = task.after->chance,
          .text = quantity_text(accuracy(*task.after), Quantity::kShare),
          .detail = fmt::format("{:.0f} to {:.0f}", 100 * interval.low, 100 * interval.high)};
  if (task.before != nullptr && task.before->questions > 0) bar.before = accuracy(*task.before);
  return bar;
}

Bar loss_bar(const BeforeAfter& task) {
  Bar bar{.value = task.after->loss, .text = fmt::format("{:.3f}", task.after->loss)};
  if (task.before != nullptr && std::isfinite(task.before->loss)) {
    bar.before = task.before->loss;
    bar.detail = fmt::format("from {:.3f}", task.before->loss);
  }
  return bar;
}

// One group for each task for which `has` is true of some run's last score.
template <typename Has, typename MakeBar>
std::vector<BarGroup> groups_of(const Runs& runs, const Has& has, const MakeBar& make_bar) {
  std::vector<BarGroup> groups;
  for (const std::string& name : task_names(runs)) {
    BarGroup group{.label = name.empty() ? "(no task)" : name};
    for (size_t run = 0; run < runs.size(); ++run) {
      const BeforeAfter task = of_task(runs[run], name);
      if (task.after == nullptr || !has(*task.after)) continue;
      Bar bar = make_bar(task);
      bar.slot = run;
      if (runs.size() > 1) bar.name = runs[run].name;
      group.detail = task.after->questions > 0 ? fmt::format("{} questions", task.after->questions)
                                               : fmt::format("{} samples", task.after->samples);
      group.bars.push_back(std::move(bar));
    }
    if (!group.bars.empty()) groups.push_back(std::move(group));
  }
  return groups;
}

template <typename Has>
bool any_bar(const std::vector<BarGroup>& groups, const Has& has) {
  return std::any_of(groups.begin(), groups.end(), [&](const BarGroup& group) {
    return std::any_of(group.bars.begin(), group.bars.end(), has);
  });
}

// The names of marks that occur.
void name_marks(BarChart& chart) {
  if (any_bar(chart.groups, [](const Bar& bar) { return std::isfinite(bar.before); })) {
    chart.before_name = "at the first evaluation";
  }
  if (any_bar(chart.groups, [](const Bar& bar) { return std::isfinite(bar.chance); })) {
    chart.chance_name = "by guessing";
  }
}

BarChart accuracy_chart(const Runs& runs) {
  BarChart chart{.id = "task-accuracy",
                 .title = "Accuracy by task",
                 .note =
                     "Multiple-choice questions whose right option has the largest likelihood, "
                     "at the last evaluation.",
                 .groups = groups_of(
                     runs, [](const TaskScore& task) { return task.questions > 0; }, accuracy_bar),
                 .value_name = "last evaluation",
                 .interval_name = "95 % interval (Wilson)"};
  name_marks(chart);
  return chart;
}

BarChart loss_chart(const Runs& runs) {
  BarChart chart{
      .id = "task-loss",
      .title = "Held-out loss by task",
      .note = "Nats per answer token at the last evaluation; shorter is better.",
      .groups = groups_of(
          runs, [](const TaskScore& task) { return std::isfinite(task.loss); }, loss_bar),
      .value_name = "last evaluation"};
  chart.most = 0.0;
  for (const BarGroup& group : chart.groups) {
    for (const Bar& bar : group.bars) {
      chart.most = std::max(chart.most, bar.value);
      if (std::isfinite(bar.before)) chart.most = std::max(chart.most, bar.before);
    }
  }
  chart.most *= 1.04;  // so that a ring at the end is whole
  name_marks(chart);
  return chart;
}

}  // namespace

std::string tasks_section(const Runs& runs) {
  if (task_names(runs).empty()) return {};
  std::string charts;
  const BarChart accuracies = accuracy_chart(runs);
  if (!accuracies.groups.empty()) charts += bar_chart_html(accuracies);
  charts += bar_chart_html(loss_chart(runs));
  return section_html("tasks", "Tasks", "<div class=\"cards\">\n" + charts + "</div>\n");
}

}  // namespace molora
