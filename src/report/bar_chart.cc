#include "report/bar_chart.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "report/html_text.h"
#include "report/line_chart.h"

namespace molora {

namespace {

constexpr int kBarHeight = 18;

double part_of(double value, double most) {
  if (!std::isfinite(value) || most <= 0) return 0.0;
  return 100 * std::clamp(value / most, 0.0, 1.0);
}

std::string whisker(double low, double high) {
  constexpr int kMiddle = kBarHeight / 2;
  std::string svg;
  // Twice: light below, so that it is seen on the bar as well as beside it.
  for (const char* style : {"whisker-under", "whisker"}) {
    svg += fmt::format(
        "<g class=\"{0}\"><line x1=\"{1:.2f}%\" x2=\"{2:.2f}%\" y1=\"{3}\" y2=\"{3}\"/>"
        "<line x1=\"{1:.2f}%\" x2=\"{1:.2f}%\" y1=\"{4}\" y2=\"{5}\"/>"
        "<line x1=\"{2:.2f}%\" x2=\"{2:.2f}%\" y1=\"{4}\" y2=\"{5}\"/></g>",
        style, low, high, kMiddle, kMiddle - 4, kMiddle + 4);
  }
  return svg;
}

std::string chance_mark(double at) {
  return fmt::format(
      "<line class=\"chance\" x1=\"{0:.2f}%\" x2=\"{0:.2f}%\" y1=\"-2\" y2=\"{1}\"/>", at,
      kBarHeight + 2);
}

std::string ring(double at) {
  return fmt::format("<circle class=\"before\" cx=\"{:.2f}%\" cy=\"{}\" r=\"4.5\"/>", at,
                     kBarHeight / 2);
}

std::string bar_svg(const BarChart& chart, const BarGroup& group, const Bar& bar) {
  const double value = part_of(bar.value, chart.most);
  const double rest = part_of(bar.value + bar.rest, chart.most) - value;
  std::string svg = fmt::format(
      "<svg class=\"bar\" role=\"img\" height=\"{0}\"><title>{1}{2}{3}: {4} {5}</title>"
      "<rect class=\"track\" width=\"100%\" height=\"{0}\"/>"
      "<rect class=\"fill {6}\" width=\"{7:.2f}%\" height=\"{0}\"/>",
      kBarHeight, html_escaped(group.label), bar.name.empty() ? "" : ", ", html_escaped(bar.name),
      html_escaped(bar.text), html_escaped(bar.detail), palette_class(bar.slot), value);
  if (rest > 0) {
    svg += fmt::format("<rect class=\"rest {}\" x=\"{:.2f}%\" width=\"{:.2f}%\" height=\"{}\"/>",
                       palette_class(bar.slot), value, rest, kBarHeight);
  }
  if (std::isfinite(bar.low) && std::isfinite(bar.high)) {
    svg += whisker(part_of(bar.low, chart.most), part_of(bar.high, chart.most));
  }
  if (std::isfinite(bar.chance)) svg += chance_mark(part_of(bar.chance, chart.most));
  if (std::isfinite(bar.before)) svg += ring(part_of(bar.before, chart.most));
  return svg + "</svg>";
}

std::string group_html(const BarChart& chart, const BarGroup& group) {
  std::string html =
      fmt::format("<div class=\"group\"><p class=\"label\">{} <small>{}</small></p>\n",
                  html_escaped(group.label), html_escaped(group.detail));
  for (const Bar& bar : group.bars) {
    html += fmt::format(
        "<div class=\"bar-row\">{}<span class=\"bar-value\">{} <small>{}</small></span></div>\n",
        bar_svg(chart, group, bar), html_escaped(bar.text), html_escaped(bar.detail));
  }
  return html + "</div>\n";
}

std::string sample(const std::string& inside) {
  return fmt::format(
      "<svg class=\"sample\" width=\"26\" height=\"{}\" aria-hidden=\"true\">{}</svg>", kBarHeight,
      inside);
}

std::string legend(const BarChart& chart) {
  std::string html;
  const auto add = [&](const std::string& name, const std::string& inside) {
    if (name.empty()) return;
    html += fmt::format("<span>{}{}</span> ", sample(inside), html_escaped(name));
  };
  const size_t slot = chart.groups.front().bars.front().slot;
  // Several runs: by name, as in all charts. One: what a bar is.
  if (chart.groups.front().bars.size() > 1) {
    for (const Bar& bar : chart.groups.front().bars) {
      add(bar.name, fmt::format("<rect class=\"fill {}\" y=\"3\" width=\"24\" height=\"12\"/>",
                                palette_class(bar.slot)));
    }
  } else {
    add(chart.value_name, fmt::format("<rect class=\"fill {}\" y=\"3\" width=\"24\" "
                                      "height=\"12\"/>",
                                      palette_class(slot)));
  }
  add(chart.rest_name, fmt::format("<rect class=\"rest {}\" y=\"3\" width=\"24\" height=\"12\"/>",
                                   palette_class(slot)));
  add(chart.interval_name, whisker(5, 95));
  add(chart.before_name, ring(50));
  add(chart.chance_name, chance_mark(50));
  return html.empty() ? html : "<p class=\"legend\">" + html + "</p>\n";
}

}  // namespace

std::string bar_chart_html(const BarChart& chart) {
  std::string html =
      fmt::format("<figure class=\"card bars\" id=\"{}\">\n<figcaption>{}</figcaption>\n", chart.id,
                  html_escaped(chart.title));
  if (!chart.note.empty()) html += "<p class=\"note\">" + html_escaped(chart.note) + "</p>\n";
  if (chart.groups.empty()) {
    return html + "<p class=\"nothing\">" + html_escaped(chart.empty_text) + "</p>\n</figure>\n";
  }
  html += legend(chart);
  for (const BarGroup& group : chart.groups) html += group_html(chart, group);
  return html + "</figure>\n";
}

}  // namespace molora
