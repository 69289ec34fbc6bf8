// The speed section: steps, ranks side by side, bytes by collective.
#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "base/unit_text.h"
#include "report/bar_chart.h"
#include "report/html_text.h"
#include "report/page_charts.h"
#include "report/page_sections.h"

namespace molora {

namespace {

constexpr size_t kMostRanks = 24;  // in a chart

// The ranks of a chart: all, or those with the most and the fewest of what it shows.
std::vector<size_t> ranks_to_show(const std::vector<RankPoint>& ranks, double RankPoint::*number) {
  std::vector<size_t> order(ranks.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (ranks.size() <= kMostRanks) return order;
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return ranks[a].*number > ranks[b].*number; });
  order.erase(order.begin() + kMostRanks / 2, order.end() - kMostRanks / 2);
  return order;
}

std::string left_out_text(size_t num_ranks) {
  if (num_ranks <= kMostRanks) return {};
  return fmt::format(" Of {} ranks the {} with most and the {} with least.", num_ranks,
                     kMostRanks / 2, kMostRanks / 2);
}

BarChart memory_chart(const RankReport& report, size_t run) {
  BarChart chart{.id = fmt::format("memory-{}", run),
                 .title = "Memory by rank",
                 .note = fmt::format("The most that a process has had resident, up to step {}.{}",
                                     report.step, left_out_text(report.ranks.size()))};
  chart.most = 0.0;
  for (const size_t rank : ranks_to_show(report.ranks, &RankPoint::peak_memory_bytes)) {
    const RankPoint& point = report.ranks[rank];
    if (!std::isfinite(point.peak_memory_bytes)) continue;
    chart.most = std::max(chart.most, point.peak_memory_bytes);
    chart.groups.push_back({fmt::format("rank {}", rank),
                            point.host,
                            {{.slot = run,
                              .value = point.peak_memory_bytes,
                              .text = bytes_text(point.peak_memory_bytes)}}});
  }
  return chart;
}

BarChart time_chart(const RankReport& report, size_t run) {
  BarChart chart{.id = fmt::format("rank-time-{}", run),
                 .title = "Time of a step by rank",
                 .note = fmt::format("Mean over the steps before step {}.{}", report.step,
                                     left_out_text(report.ranks.size())),
                 .value_name = "own work",
                 .rest_name = "waiting in collectives"};
  chart.most = 0.0;
  for (const size_t rank : ranks_to_show(report.ranks, &RankPoint::work)) {
    const RankPoint& point = report.ranks[rank];
    if (!std::isfinite(point.work)) continue;
    const double waited = std::isfinite(point.waited) ? point.waited : 0.0;
    chart.most = std::max(chart.most, point.work + waited);
    chart.groups.push_back({fmt::format("rank {}", rank),
                            point.host,
                            {{.slot = run,
                              .value = point.work,
                              .rest = waited,
                              .text = seconds_text(point.work),
                              .detail = "+ " + seconds_text(waited)}}});
  }
  return chart;
}

std::string ranks_charts(const Runs& runs) {
  std::string html;
  for (size_t run = 0; run < runs.size(); ++run) {
    if (runs[run].log.rank_reports().empty()) continue;
    const RankReport& report = runs[run].log.rank_reports().back();
    html += run_heading(runs, run) + "<div class=\"cards\">\n" +
            bar_chart_html(memory_chart(report, run)) + bar_chart_html(time_chart(report, run)) +
            "</div>\n";
  }
  return html;
}

std::string traffic_row(const std::string& axis, const std::string& kind, double bytes,
                        const RunTotals& totals) {
  const auto steps = static_cast<double>(std::max<int64_t>(1, totals.steps));
  const double share = totals.sent_bytes > 0 ? bytes / totals.sent_bytes : 0.0;
  return fmt::format(
      "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"number\">{}</td><td "
      "class=\"number\">{}</td><td class=\"share\"><svg class=\"bar\" role=\"img\" "
      "height=\"12\"><title>{:.1f} %</title><rect class=\"track\" width=\"100%\" "
      "height=\"12\"/><rect class=\"fill s0\" width=\"{:.2f}%\" height=\"12\"/></svg></td><td "
      "class=\"number\">{:.1f} %</td></tr>\n",
      html_escaped(axis), html_escaped(kind), bytes_text(bytes), bytes_text(bytes / steps),
      100 * share, 100 * share, 100 * share);
}

std::string traffic_table(const RunRecord& run, size_t number) {
  if (run.log.sent_bytes().empty()) return {};
  const RunTotals totals = totals_of(run.log);
  std::string rows;
  for (const auto& [axis, kinds] : run.log.sent_bytes()) {
    for (const auto& [kind, bytes] : kinds) rows += traffic_row(axis, kind, bytes, totals);
  }
  return fmt::format(
      "<figure class=\"card wide\" id=\"communication-{}\">\n<figcaption>Communication"
      "</figcaption>\n<p class=\"note\">Bytes sent in steps, by all ranks together: {} over {} "
      "steps.</p>\n<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Axis</th><th "
      "scope=\"col\">Collective</th><th scope=\"col\" class=\"number\">Total</th><th "
      "scope=\"col\" class=\"number\">A step</th><th scope=\"col\" colspan=\"2\">Share</th></tr>"
      "</thead><tbody>\n{}</tbody></table></div></figure>\n",
      number, bytes_text(totals.sent_bytes), grouped_digits(totals.steps), rows);
}

}  // namespace

std::string speed_section(const Runs& runs) {
  const bool has_any = std::any_of(runs.begin(), runs.end(),
                                   [](const RunRecord& run) { return !run.log.steps().empty(); });
  if (!has_any) return {};
  std::string html = "<div class=\"cards\">\n";
  html += line_chart_html(step_chart(runs, &StepPoint::tokens_per_second,
                                     {.id = "tokens-per-second",
                                      .title = "Tokens a second",
                                      .quantity = Quantity::kRate,
                                      .starts_at_zero = true}));
  html += line_chart_html(step_chart(runs, &StepPoint::seconds,
                                     {.id = "step-time",
                                      .title = "Time of a step",
                                      .quantity = Quantity::kSeconds,
                                      .starts_at_zero = true}));
  html += "</div>\n" + ranks_charts(runs);
  for (size_t run = 0; run < runs.size(); ++run) {
    const std::string table = traffic_table(runs[run], run);
    if (!table.empty()) html += run_heading(runs, run) + table;
  }
  return section_html("speed", "Speed, memory, communication", html);
}

}  // namespace molora
