// The head of a page: one run with its numbers, or a table of several; and what all sections share.
#include <cmath>

#include <fmt/format.h>

#include "base/unit_text.h"
#include "report/axis_scale.h"
#include "report/html_text.h"
#include "report/line_chart.h"
#include "report/page_sections.h"
#include "report/progress_line.h"
#include "report/wilson.h"

namespace molora {

namespace {

struct Tile {
  std::string name;
  std::string value;
  std::string detail;
};

std::string loss_text(double loss) {
  return std::isfinite(loss) ? fmt::format("{:.3f}", loss) : "-";
}

double share(int64_t part, int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(whole);
}

std::string steps_text(const RunTotals& totals) {
  return totals.num_steps > 0 ? fmt::format("{} of {}", grouped_digits(totals.steps),
                                            grouped_digits(totals.num_steps))
                              : grouped_digits(totals.steps);
}

Tile loss_tile(const RunTotals& totals) {
  Tile tile{.name = "Held-out loss", .value = loss_text(totals.loss_after)};
  if (totals.has_before && std::isfinite(totals.loss_before) && std::isfinite(totals.loss_after)) {
    tile.detail = fmt::format("from {}, {:+.1f} %", loss_text(totals.loss_before),
                              100 * (totals.loss_after / totals.loss_before - 1));
  }
  return tile;
}

Tile accuracy_tile(const RunTotals& totals) {
  const Interval interval = wilson_interval(totals.correct_after, totals.questions);
  Tile tile{
      .name = "Accuracy",
      .value = quantity_text(share(totals.correct_after, totals.questions), Quantity::kShare),
      .detail = fmt::format("95 %: {:.0f} to {:.0f}", 100 * interval.low, 100 * interval.high)};
  if (totals.has_before) {
    tile.detail += fmt::format(
        "; from {}",
        quantity_text(share(totals.correct_before, totals.questions), Quantity::kShare));
  }
  return tile;
}

std::vector<Tile> tiles_of(const RunRecord& run) {
  const RunTotals totals = totals_of(run.log);
  std::vector<Tile> tiles;
  if (std::isfinite(totals.loss_after)) tiles.push_back(loss_tile(totals));
  if (totals.questions > 0) tiles.push_back(accuracy_tile(totals));
  tiles.push_back({"Steps", steps_text(totals),
                   totals.num_skipped > 0 ? fmt::format("{} skipped", totals.num_skipped) : ""});
  tiles.push_back({"Tokens", quantity_text(totals.tokens, Quantity::kCount),
                   fmt::format("{} a second, median",
                               quantity_text(totals.tokens_per_second, Quantity::kRate))});
  tiles.push_back({"Time in steps", time_span_text(totals.seconds), ""});
  if (totals.num_ranks > 0) {
    tiles.push_back({"Ranks", grouped_digits(totals.num_ranks),
                     std::isfinite(totals.peak_memory_bytes)
                         ? fmt::format("{} at most on one", bytes_text(totals.peak_memory_bytes))
                         : ""});
  }
  if (totals.sent_bytes > 0)
    tiles.push_back({"Sent", bytes_text(totals.sent_bytes), "by all ranks"});
  tiles.push_back({"Faults", grouped_digits(static_cast<int64_t>(run.faults.size())),
                   run.faults.empty() ? "none" : run.faults.back().kind + ", the latest"});
  return tiles;
}

std::string badge(RunState state) {
  return fmt::format("<span class=\"badge {0}\">{0}</span>", state_name(state));
}

std::string summary_list(const RunRecord& run) {
  if (run.summary.empty()) return {};
  std::string html = "<dl class=\"summary\">\n";
  for (const Field& field : run.summary) {
    html += fmt::format("<div><dt>{}</dt><dd>{}</dd></div>\n", html_escaped(field.name),
                        html_escaped(field.value));
  }
  return html + "</dl>\n";
}

// Why a run that did not come to its end did not.
std::string end_text(const RunRecord& run) {
  if (run.log.steps().empty() && run.log.evaluations().empty()) {
    return "<p class=\"notice\">This run has no step yet.</p>\n";
  }
  if (run.state != RunState::kEnded || run.reason.empty()) return {};
  const FaultNote& reason = run.reason.front();
  return fmt::format("<p class=\"notice\"><strong>Ended with code {}.</strong> {}</p>\n",
                     reason.exit_code, html_escaped(reason.sentence));
}

std::string one_run(const RunRecord& run) {
  std::string html =
      fmt::format("<h1>{} {}</h1>\n<p class=\"folder\">{}</p>\n", html_escaped(run.name),
                  badge(run.state), html_escaped(run.folder));
  html += end_text(run) + summary_list(run) + "<div class=\"tiles\">\n";
  for (const Tile& tile : tiles_of(run)) {
    html += fmt::format(
        "<div class=\"tile\"><p class=\"tile-name\">{}</p><p class=\"tile-value\">{}</p><p "
        "class=\"tile-detail\">{}</p></div>\n",
        html_escaped(tile.name), html_escaped(tile.value), html_escaped(tile.detail));
  }
  return html + "</div>\n";
}

std::string run_row(const RunRecord& run, size_t number) {
  const RunTotals totals = totals_of(run.log);
  const auto cell = [](const std::string& text) {
    return fmt::format("<td class=\"number\">{}</td>", html_escaped(text));
  };
  std::string accuracy = "-";
  if (totals.questions > 0) {
    const Interval interval = wilson_interval(totals.correct_after, totals.questions);
    accuracy =
        fmt::format("{} ({:.0f} to {:.0f})",
                    quantity_text(share(totals.correct_after, totals.questions), Quantity::kShare),
                    100 * interval.low, 100 * interval.high);
  }
  return fmt::format("<tr><th scope=\"row\">{}{}</th><td>{}</td>", line_sample_html(number),
                     html_escaped(run.name), badge(run.state)) +
         cell(steps_text(totals)) + cell(loss_text(totals.loss_before)) +
         cell(totals.has_before ? loss_text(totals.loss_after) : "-") + cell(accuracy) +
         cell(quantity_text(totals.tokens, Quantity::kCount)) +
         cell(quantity_text(totals.tokens_per_second, Quantity::kRate)) +
         cell(time_span_text(totals.seconds)) +
         cell(quantity_text(totals.peak_memory_bytes, Quantity::kBytes)) +
         cell(grouped_digits(static_cast<int64_t>(run.faults.size()))) + "</tr>\n";
}

std::string several_runs(const Runs& runs) {
  std::string html = fmt::format("<h1>{} runs</h1>\n", runs.size());
  std::string rows;
  for (size_t run = 0; run < runs.size(); ++run) rows += run_row(runs[run], run);
  html += fmt::format(
      "<figure class=\"card wide\" id=\"runs\"><div class=\"scroll\"><table class=\"runs\"><thead>"
      "<tr><th scope=\"col\">Run</th><th scope=\"col\">State</th><th scope=\"col\" "
      "class=\"number\">Steps</th><th scope=\"col\" class=\"number\">Held-out loss, first</th><th "
      "scope=\"col\" class=\"number\">last</th><th scope=\"col\" class=\"number\">Accuracy (95 "
      "%)</th><th scope=\"col\" class=\"number\">Tokens</th><th scope=\"col\" "
      "class=\"number\">Tokens a second</th><th scope=\"col\" class=\"number\">Time in "
      "steps</th><th scope=\"col\" class=\"number\">Most memory</th><th scope=\"col\" "
      "class=\"number\">Faults</th></tr></thead>\n<tbody>{}</tbody></table></div></figure>\n",
      rows);
  for (const RunRecord& run : runs) {
    if (run.state != RunState::kEnded || run.reason.empty()) continue;
    html += fmt::format("<p class=\"notice\"><strong>{} ended with code {}.</strong> {}</p>\n",
                        html_escaped(run.name), run.reason.front().exit_code,
                        html_escaped(run.reason.front().sentence));
  }
  return html;
}

}  // namespace

std::string header_section(const Runs& runs) {
  return "<header class=\"head\">\n" +
         (runs.size() == 1 ? one_run(runs.front()) : several_runs(runs)) + "</header>\n";
}

std::string problems_section(const Runs& runs) {
  std::string items;
  for (const RunRecord& run : runs) {
    for (const std::string& problem : run.problems) {
      items += fmt::format("<li>{}{}</li>\n",
                           runs.size() > 1 ? html_escaped(run.name) + ": " : std::string(),
                           html_escaped(problem));
    }
  }
  if (items.empty()) return {};
  return "<div class=\"notice\"><strong>Not everything could be read.</strong><ul>\n" + items +
         "</ul></div>\n";
}

std::string time_span_text(double seconds) {
  if (!std::isfinite(seconds)) return "-";
  return seconds < 60 ? seconds_text(seconds) : format_duration(seconds);
}

std::string run_heading(const Runs& runs, size_t run) {
  if (runs.size() == 1) return {};
  return fmt::format("<h3>{}{}</h3>\n", line_sample_html(run), html_escaped(runs[run].name));
}

std::string section_html(const std::string& id, const std::string& heading,
                         const std::string& content) {
  if (content.empty()) return {};
  return fmt::format(
      "<section id=\"{0}\" aria-labelledby=\"{0}-h\">\n<h2 id=\"{0}-h\">{1}</h2>\n"
      "{2}</section>\n",
      id, html_escaped(heading), content);
}

}  // namespace molora
