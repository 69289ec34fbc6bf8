#include "report/page_charts.h"

#include <algorithm>

#include <fmt/format.h>

#include "report/downsample.h"

namespace molora {

namespace {

constexpr size_t kMostParts = 400;  // of a line; the screen shows no more

size_t odd_window(size_t num_parts) { return (num_parts / 25) * 2 + 1; }

}  // namespace

LineChart step_chart(const Runs& runs, double StepPoint::*number, const StepChart& about) {
  LineChart chart{.id = about.id,
                  .title = about.title,
                  .unit = about.unit,
                  .quantity = about.quantity,
                  .starts_at_zero = about.starts_at_zero,
                  .may_be_logarithmic = about.may_be_logarithmic,
                  .empty_text = "No step has told this."};
  size_t most_values = 0;
  size_t widest = 1;
  for (size_t run = 0; run < runs.size(); ++run) {
    const std::vector<Point> series = runs[run].log.series(number);
    std::vector<BandPoint> band = value_band(series, kMostParts);
    const size_t window = about.is_smooth ? 1 : odd_window(band.size());
    ChartLine line{.name = runs[run].name, .slot = run, .line = moving_mean(band, window)};
    const size_t in_part = values_per_part(series.size(), kMostParts);
    most_values = std::max(most_values, in_part);
    widest = std::max(widest, window * in_part);
    if (window > 1 || in_part > 1) line.band = std::move(band);
    chart.lines.push_back(std::move(line));
  }
  chart.note = about.note;
  if (widest > 1) {
    chart.note += fmt::format("{}Line: mean of {}{} steps. {}", about.note.empty() ? "" : " ",
                              runs.size() > 1 ? "up to " : "", widest,
                              most_values > 1
                                  ? fmt::format("Band: from the lowest to the highest of every {} "
                                                "steps; no value lies outside it.",
                                                most_values)
                                  : std::string("Thin line: every step."));
  }
  return chart;
}

}  // namespace molora
