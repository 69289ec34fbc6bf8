#include "report/line_chart.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "report/html_text.h"

namespace molora {

namespace {

using nlohmann::json;

constexpr double kHeight = 220;  // of the plot, in px
constexpr double kBelow = 38;    // for the labels of the steps
constexpr double kWide = 1000;   // units that lines are drawn in from left to right

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  bool is_empty() const { return low > high; }
  void add(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

struct Ranges {
  Range x;
  Range y;
};

Ranges ranges_of(const LineChart& chart) {
  Ranges ranges;
  for (const ChartLine& line : chart.lines) {
    for (const BandPoint& part : line.band) {
      ranges.x.add(part.x);
      ranges.y.add(part.low);
      ranges.y.add(part.high);
    }
    for (const Point& point : line.line) {
      ranges.x.add(point.x);
      ranges.y.add(point.y);
    }
  }
  return ranges;
}

AxisScale value_scale(const LineChart& chart, Range range) {
  constexpr double kTwoDecades = 100;
  constexpr int kTicks = 4;
  if (chart.may_be_logarithmic && range.low > 0 && range.high > kTwoDecades * range.low) {
    return AxisScale::logarithmic(range.low, range.high, chart.quantity);
  }
  if (chart.starts_at_zero) range.low = std::min(range.low, 0.0);
  return AxisScale::linear(range.low, range.high, kTicks, chart.quantity);
}

class Drawing {
 public:
  Drawing(AxisScale steps, AxisScale values)
      : steps_(std::move(steps)), values_(std::move(values)) {}

  double left(double x) const { return 100 * steps_.position(x); }  // in percent
  double top(double y) const { return kHeight * (1 - values_.position(y)); }

  std::string axes(const LineChart& chart) const {
    std::string svg;
    for (const Tick& tick : values_.ticks()) {
      svg += fmt::format(
          "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{0:.1f}\" y2=\"{0:.1f}\"/>"
          "<text class=\"tick\" x=\"-8\" y=\"{1:.1f}\" text-anchor=\"end\">{2}</text>\n",
          top(tick.value), top(tick.value) + 4, html_escaped(tick.text));
    }
    if (!chart.unit.empty()) {
      svg += fmt::format("<text class=\"unit\" x=\"-8\" y=\"-12\" text-anchor=\"end\">{}</text>\n",
                         html_escaped(chart.unit));
    }
    return svg + step_labels();
  }

  std::string band(const ChartLine& line) const {
    if (line.band.empty()) return {};
    std::string path;
    for (const BandPoint& part : line.band) {
      path += fmt::format("{}{} {}", path.empty() ? "M" : "L", across(part.x), height(part.high));
    }
    for (auto part = line.band.rbegin(); part != line.band.rend(); ++part) {
      path += fmt::format("L{} {}", across(part->x), height(part->low));
    }
    return fmt::format("<path class=\"band {}\" d=\"{}Z\"/>\n", palette_class(line.slot), path);
  }

  std::string path(const ChartLine& line) const {
    if (line.line.size() < 2) return {};
    std::string path;
    for (const Point& point : line.line) {
      path += fmt::format("{}{} {}", path.empty() ? "M" : "L", across(point.x), height(point.y));
    }
    return fmt::format("<path class=\"line {}\" d=\"{}\"/>\n", palette_class(line.slot), path);
  }

  std::string dots(const ChartLine& line) const {
    if (!line.has_dots && line.line.size() != 1) return {};
    std::string svg;
    for (const Point& point : line.line) {
      svg += fmt::format("<circle class=\"dot {}\" cx=\"{:.2f}%\" cy=\"{:.1f}\" r=\"4\"/>\n",
                         palette_class(line.slot), left(point.x), top(point.y));
    }
    return svg;
  }

  json scales() const { return {{"low", steps_.low()}, {"high", steps_.high()}}; }

 private:
  std::string across(double x) const { return fmt::format("{:.1f}", kWide / 100 * left(x)); }
  std::string height(double y) const { return fmt::format("{:.1f}", top(y)); }

  // Every other label is left out on a narrow page.
  std::string step_labels() const {
    std::string svg;
    size_t number = 0;
    for (const Tick& tick : steps_.ticks()) {
      const double at = left(tick.value);
      const char* anchor = at > 97 ? "end" : "middle";
      svg += fmt::format(
          "<line class=\"grid-tick\" x1=\"{0:.2f}%\" x2=\"{0:.2f}%\" y1=\"{1}\" y2=\"{2}\"/>"
          "<text class=\"tick{3}\" x=\"{0:.2f}%\" y=\"{4}\" text-anchor=\"{5}\">{6}</text>\n",
          at, kHeight, kHeight + 5, number % 2 == 1 ? " wide-only" : "", kHeight + 19, anchor,
          html_escaped(tick.text));
      ++number;
    }
    return svg + fmt::format(
                     "<text class=\"unit\" x=\"100%\" y=\"{}\" text-anchor=\"end\">step"
                     "</text>\n",
                     kHeight + 34);
  }

  AxisScale steps_;
  AxisScale values_;
};

// What a person who cannot see the chart is told.
std::string description(const LineChart& chart) {
  std::string text;
  for (const ChartLine& line : chart.lines) {
    Range range;
    for (const Point& point : line.line) range.add(point.y);
    if (range.is_empty()) continue;
    const Point& first = line.line.front();
    const Point& last = line.line.back();
    text += fmt::format("{}: {} at step {:.0f}, {} at step {:.0f}; lowest {}, highest {}. ",
                        line.name, quantity_text(first.y, chart.quantity), first.x,
                        quantity_text(last.y, chart.quantity), last.x,
                        quantity_text(range.low, chart.quantity),
                        quantity_text(range.high, chart.quantity));
  }
  return text;
}

// Rounded, so that the page stays small: what people read has fewer digits.
json short_number(double value) {
  if (!std::isfinite(value)) return nullptr;
  return std::strtod(fmt::format("{:.5g}", value).c_str(), nullptr);
}

std::string values_script(const LineChart& chart, const Drawing& drawing) {
  const char* const kQuantities[] = {"number", "count", "share", "seconds", "bytes", "rate"};
  json data = drawing.scales();
  data["quantity"] = kQuantities[static_cast<size_t>(chart.quantity)];
  data["lines"] = json::array();
  for (const ChartLine& line : chart.lines) {
    json points = json::array();
    for (const Point& point : line.line) {
      points.push_back(
          {short_number(point.x), short_number(point.y), std::round(drawing.top(point.y))});
    }
    data["lines"].push_back(
        {{"name", line.name}, {"class", palette_class(line.slot)}, {"points", points}});
  }
  return fmt::format("<script type=\"application/json\" class=\"values\">{}</script>\n",
                     json_in_script(data));
}

std::string legend(const LineChart& chart) {
  if (chart.lines.size() < 2) return {};
  std::string html = "<p class=\"legend\">";
  for (const ChartLine& line : chart.lines) {
    html += fmt::format("<span>{}{}</span> ", line_sample_html(line.slot), html_escaped(line.name));
  }
  return html + "</p>\n";
}

std::string plot(const LineChart& chart, const Ranges& ranges) {
  constexpr int kStepTicks = 8;
  const AxisScale values = value_scale(chart, ranges.y);
  const Drawing drawing(AxisScale::steps(ranges.x.low, ranges.x.high, kStepTicks), values);
  std::string stretched;
  std::string dots;
  for (const ChartLine& line : chart.lines) stretched += drawing.band(line);
  for (const ChartLine& line : chart.lines) {
    stretched += drawing.path(line);
    dots += drawing.dots(line);
  }
  return fmt::format(
             "<div class=\"plot\"><svg role=\"img\" aria-labelledby=\"{0}-t {0}-d\" "
             "height=\"{1}\" tabindex=\"0\">\n"
             "<title id=\"{0}-t\">{2}</title><desc id=\"{0}-d\">{3}</desc>\n{4}"
             "<svg x=\"0\" y=\"0\" width=\"100%\" height=\"{5}\" viewBox=\"0 0 {6} {5}\" "
             "preserveAspectRatio=\"none\" overflow=\"visible\">\n{7}</svg>\n{8}</svg></div>\n",
             chart.id, kHeight + kBelow, html_escaped(chart.title),
             html_escaped(description(chart)), drawing.axes(chart), kHeight, kWide, stretched,
             dots) +
         (values.is_logarithmic() ? "<p class=\"hint\">Logarithmic scale.</p>\n" : "") +
         values_script(chart, drawing);
}

}  // namespace

std::string palette_class(size_t slot) {
  constexpr size_t kColours = 6;
  return fmt::format("s{}{}", slot % kColours, slot >= kColours ? " again" : "");
}

std::string line_sample_html(size_t slot) {
  return fmt::format(
      "<svg class=\"sample\" width=\"26\" height=\"10\" aria-hidden=\"true\"><path class=\"line "
      "{}\" "
      "d=\"M1 5H25\"/></svg>",
      palette_class(slot));
}

std::string line_chart_html(const LineChart& chart) {
  const Ranges ranges = ranges_of(chart);
  std::string html =
      fmt::format("<figure class=\"card chart\" id=\"{}\">\n<figcaption>{}</figcaption>\n",
                  chart.id, html_escaped(chart.title));
  if (!chart.note.empty()) html += "<p class=\"note\">" + html_escaped(chart.note) + "</p>\n";
  if (ranges.y.is_empty()) {
    html += "<p class=\"nothing\">" + html_escaped(chart.empty_text) + "</p>\n";
  } else {
    html += legend(chart) + plot(chart, ranges);
  }
  return html + "</figure>\n";
}

}  // namespace molora
