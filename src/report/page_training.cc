// The training section: losses, learning rate, gradient norm.
#include <algorithm>
#include <cmath>

#include "report/line_chart.h"
#include "report/page_charts.h"
#include "report/page_sections.h"

namespace molora {

namespace {

LineChart held_out_chart(const Runs& runs) {
  LineChart chart{.id = "held-out-loss",
                  .title = "Held-out loss",
                  .note =
                      "Mean negative log-likelihood of an answer token, in nats, on data that is "
                      "not trained on.",
                  .may_be_logarithmic = true,
                  .empty_text = "Nothing was evaluated."};
  for (size_t run = 0; run < runs.size(); ++run) {
    ChartLine line{.name = runs[run].name, .slot = run};
    for (const Evaluation& evaluation : runs[run].log.evaluations()) {
      const Point point{static_cast<double>(evaluation.step), evaluation.loss};
      if (std::isfinite(point.y)) line.line.push_back(point);
    }
    constexpr size_t kMostDots = 40;
    line.has_dots = line.line.size() <= kMostDots;
    chart.lines.push_back(std::move(line));
  }
  return chart;
}

}  // namespace

std::string training_section(const Runs& runs) {
  const bool has_any = std::any_of(runs.begin(), runs.end(), [](const RunRecord& run) {
    return !run.log.steps().empty() || !run.log.evaluations().empty();
  });
  if (!has_any) return {};
  std::string charts;
  charts += line_chart_html(
      step_chart(runs, &StepPoint::loss,
                 {.id = "training-loss", .title = "Training loss", .may_be_logarithmic = true}));
  charts += line_chart_html(held_out_chart(runs));
  charts += line_chart_html(step_chart(runs, &StepPoint::learning_rate,
                                       {.id = "learning-rate",
                                        .title = "Learning rate",
                                        .starts_at_zero = true,
                                        .is_smooth = true}));
  charts += line_chart_html(step_chart(runs, &StepPoint::grad_norm,
                                       {.id = "gradient-norm",
                                        .title = "Gradient norm",
                                        .note = "Before clipping.",
                                        .may_be_logarithmic = true}));
  return section_html("training", "Training", "<div class=\"cards\">\n" + charts + "</div>\n");
}

}  // namespace molora
