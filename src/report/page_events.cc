// The events section: faults, restarts, checkpoints.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/unit_text.h"
#include "report/html_text.h"
#include "report/page_sections.h"
#include "report/timeline.h"

namespace molora {

namespace {

const char* state_text(CheckpointNote::State state) {
  switch (state) {
    case CheckpointNote::State::kWhole:
      return "committed";
    case CheckpointNote::State::kUnfinished:
      return "unfinished";
    case CheckpointNote::State::kDamaged:
      return "damaged, put aside";
  }
  return "";
}

std::string rank_text(const FaultNote& fault) {
  if (fault.rank < 0) return "-";
  return fault.host.empty() ? fmt::format("{}", fault.rank)
                            : fmt::format("{} on {}", fault.rank, fault.host);
}

TimelineLane fault_lane(const RunRecord& run) {
  TimelineLane lane{.name = "Faults", .shape = MarkShape::kCross};
  for (const FaultNote& fault : run.faults) {
    lane.marks.push_back(
        {std::max<int64_t>(0, fault.step), fmt::format("{}: {}", fault.time, fault.sentence)});
  }
  return lane;
}

TimelineLane repeated_lane(const RunRecord& run) {
  TimelineLane lane{.name = "Skipped steps", .shape = MarkShape::kTriangle};
  for (const StepPoint& step : run.log.steps()) {
    if (step.is_skipped) {
      lane.marks.push_back({step.step, fmt::format("step {}: not finite, skipped", step.step)});
    } else if (step.is_recomputed) {
      lane.marks.push_back({step.step, fmt::format("step {}: computed again", step.step)});
    }
  }
  return lane;
}

TimelineLane alarm_lane(const RunRecord& run) {
  TimelineLane lane{.name = "Router alarms", .shape = MarkShape::kTriangle};
  for (const RouterAlarmNote& alarm : run.log.alarms()) {
    const std::string text = alarm.kind == "recovered"
                                 ? fmt::format("{} has recovered", alarm.router)
                                 : fmt::format("{} has collapsed, {} dead experts; action {}",
                                               alarm.router, alarm.num_dead, alarm.action);
    // One mark for all routers of a step.
    if (!lane.marks.empty() && lane.marks.back().step == alarm.step) {
      lane.marks.back().text += "; " + text;
    } else {
      lane.marks.push_back({alarm.step, fmt::format("step {}: {}", alarm.step, text)});
    }
  }
  return lane;
}

Timeline timeline_of(const RunRecord& run, size_t number) {
  Timeline timeline{.id = fmt::format("timeline-{}", number),
                    .title = "What happened",
                    .note = "By step. Faults ended a start of the run, or the run.",
                    .last_step = std::max(run.log.num_steps(), run.log.last_step())};
  timeline.lanes.push_back(fault_lane(run));
  timeline.lanes.push_back(repeated_lane(run));
  if (!run.log.alarms().empty()) timeline.lanes.push_back(alarm_lane(run));
  TimelineLane saved{.name = "Checkpoints", .shape = MarkShape::kSquare};
  for (const CheckpointNote& checkpoint : run.checkpoints) {
    saved.marks.push_back(
        {checkpoint.step, fmt::format("{}: {}, {}", checkpoint.name, state_text(checkpoint.state),
                                      bytes_text(static_cast<double>(checkpoint.bytes)))});
  }
  timeline.lanes.push_back(std::move(saved));
  TimelineLane evaluated{.name = "Evaluations", .shape = MarkShape::kCircle};
  for (const Evaluation& evaluation : run.log.evaluations()) {
    evaluated.marks.push_back(
        {evaluation.step,
         fmt::format("step {}: held-out loss {}", evaluation.step,
                     std::isfinite(evaluation.loss) ? fmt::format("{:.4f}", evaluation.loss)
                                                    : std::string("not finite"))});
  }
  timeline.lanes.push_back(std::move(evaluated));
  return timeline;
}

std::string fault_table(const RunRecord& run) {
  if (run.faults.empty()) return {};
  std::string rows;
  for (const FaultNote& fault : run.faults) {
    rows += fmt::format(
        "<tr><td class=\"time\">{}</td><td>{}</td><td class=\"number\">{}</td><td>{}</td><td "
        "class=\"sentence\">{}</td></tr>\n",
        html_escaped(fault.time), html_escaped(fault.kind),
        fault.step < 0 ? std::string("-") : grouped_digits(fault.step),
        html_escaped(rank_text(fault)), html_escaped(fault.sentence));
  }
  return fmt::format(
      "<figure class=\"card wide\"><figcaption>Faults and restarts</figcaption>\n<div "
      "class=\"scroll\"><table class=\"faults\"><thead><tr><th scope=\"col\">Time (UTC)</th><th "
      "scope=\"col\">Kind</th><th scope=\"col\" class=\"number\">Step</th><th "
      "scope=\"col\">Rank</th><th scope=\"col\">What was said and done</th></tr></thead>\n"
      "<tbody>{}</tbody></table></div></figure>\n",
      rows);
}

std::string checkpoint_table(const RunRecord& run) {
  if (run.checkpoints.empty()) return {};
  std::string rows;
  for (const CheckpointNote& checkpoint : run.checkpoints) {
    rows += fmt::format(
        "<tr><td class=\"number\">{}</td><td><code>{}</code></td><td>{}</td><td "
        "class=\"number\">{}</td><td class=\"time\">{}</td></tr>\n",
        grouped_digits(checkpoint.step), html_escaped(checkpoint.name),
        state_text(checkpoint.state), bytes_text(static_cast<double>(checkpoint.bytes)),
        html_escaped(checkpoint.time));
  }
  return fmt::format(
      "<figure class=\"card wide\"><figcaption>Checkpoints</figcaption>\n<p class=\"note\">Those "
      "that are there now; earlier ones may have been removed (checkpoint.keep_last).</p>\n<div "
      "class=\"scroll\"><table><thead><tr><th scope=\"col\" class=\"number\">Step</th><th "
      "scope=\"col\">Folder</th><th scope=\"col\">State</th><th scope=\"col\" "
      "class=\"number\">Size</th><th scope=\"col\">Written (UTC)</th></tr></thead>\n"
      "<tbody>{}</tbody></table></div></figure>\n",
      rows);
}

}  // namespace

std::string events_section(const Runs& runs) {
  std::string html;
  for (size_t run = 0; run < runs.size(); ++run) {
    const RunRecord& record = runs[run];
    if (record.log.is_empty() && record.faults.empty() && record.checkpoints.empty()) continue;
    html += run_heading(runs, run) + timeline_html(timeline_of(record, run)) + fault_table(record) +
            checkpoint_table(record);
  }
  return section_html("events", "Faults, restarts, checkpoints", html);
}

}  // namespace molora
